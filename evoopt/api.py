"""The Python API behind the command line: `search`, `resume`, `open_run`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from evoopt.callbacks import Callback
from evoopt.config import RunConfig, resolve
from evoopt.errors import EvooptError
from evoopt.execution import check_device
from evoopt.execution.pool import refuse_unguarded_main
from evoopt.execution.precision import in_float32
from evoopt.individuals import individual_type
from evoopt.runs.experiment import differing_settings, refuse_changes
from evoopt.runs.folders import clear_unbegun, new_folder
from evoopt.runs.restore import restore_backup
from evoopt.runs.run import CONFIG_FILE, Run
from evoopt.tasks import get_task

GenerationHook = Callable[[dict[str, Any]], None]


@in_float32()
def search(
    space: str | Path | RunConfig = "quick",
    *,
    out: str | Path | None = None,
    quiet: bool = True,
    overrides: dict[str, dict[str, Any]] | None = None,
    on_generation: GenerationHook | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Run an evolution and keep everything in a run folder.

    Args:
        space: A shipped search space's name, a TOML file's path, or a `RunConfig`.
        out: Run folder, new or empty; by default ``runs/<space>-<time>`` below the current folder.
        quiet: Show no progress bar.
        overrides: Settings by section, e.g. ``{"search": {"population": 12}}``.
        on_generation: Called with the statistics of every finished generation, as ``run.generations`` has
            them.
        callbacks: Told of generations, evaluations and the end, see `evoopt.callbacks`.

    Returns:
        The finished run, open for reading.

    Raises:
        EvooptError: Anything the user can mend, in one line.
        KeyboardInterrupt: Interrupted; the folder can be resumed.
    """
    refuse_unguarded_main()
    config = resolve(space, overrides)
    # What can be told before the start must not leave a folder behind.
    check_device(config.execution.device, config.execution.precision)
    for task in config.every_task:
        get_task(task)
    with new_folder(config.name, Path(out) if out is not None else None) as folder:
        clear_unbegun(folder)
        with Run.create(folder, config) as run:
            _listen(run, on_generation, callbacks)
            individual_type(config.individual).search(run, config, quiet)
        return _ended(folder, callbacks)


@in_float32()
def resume(
    folder: str | Path,
    *,
    quiet: bool = True,
    overrides: dict[str, Any] | None = None,
    limits: dict[str, Any] | None = None,
    from_backup: bool = False,
    changed: bool = False,
    on_generation: GenerationHook | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Go on with an interrupted run; it ends as if it had never been interrupted.

    Args:
        folder: The run folder.
        quiet: Show no progress bar.
        overrides: Settings of the section ``execution`` (workers, executor, device, data_dir).
        limits: ``max_time`` in seconds, ``max_trainings`` and ``patience``, in place of the run's own. With
            any of them a run that a limit has ended goes on, and ends as if it had never had that limit.
        from_backup: Go back to the last good state of a run whose files were damaged; the damaged database is
            set aside.
        changed: Go on even if settings or the files of own tasks have changed since the run began; the run
            keeps a note of it.
        on_generation: As for `search`.
        callbacks: As for `search`.

    Returns:
        The finished run, open for reading.

    Raises:
        EvooptError: Not a run folder, in use, of another version, changed, or anything else that the user can
            mend.
    """
    refuse_unguarded_main()
    if from_backup:
        restore_backup(folder)
    with Run(folder, writable=True) as run:
        config, given, ended = run.config, limits or {}, run.ended or ""
        reopens = run.goes_on_with(given)
        lifted = [*run.lifted, *(name for name in config.limits if reopens and config.flag(name) in ended)]
        config = config.without(lifted).override({"execution": overrides or {}}).with_options(given)
        check_device(config.execution.device, config.execution.precision)
        _listen(run, on_generation, callbacks)
        with run.reopened(lifted) if reopens else nullcontext():
            refuse_changes(run, allowed=changed)
            individual_type(config.individual).search(run, config, quiet)
        run.write_result()  # an interruption at the very end leaves none, damage a wrong one
    return _ended(folder, callbacks)


def _listen(run: Run, on_generation: GenerationHook | None, callbacks: Sequence[Callback]) -> None:
    heard = [on_generation] if on_generation is not None else []
    heard += [callback.on_generation for callback in callbacks]
    evaluated = [callback.on_evaluation for callback in callbacks]

    def generation(record: dict[str, Any]) -> None:
        for tell in heard:
            tell(record)

    def evaluation(numbers: dict[str, Any]) -> None:
        for tell in evaluated:
            tell(numbers)

    run.store.on_generation, run.store.on_evaluation = generation, evaluation


def _ended(folder: str | Path, callbacks: Sequence[Callback]) -> Run:
    run = Run(folder)
    for callback in callbacks:
        callback.on_end(run)
    return run


def search_restarts(
    space: str | Path | RunConfig,
    count: int,
    *,
    out: str | Path | None = None,
    quiet: bool = True,
    on_generation: GenerationHook | None = None,
    callbacks: Sequence[Callback] = (),
) -> list[Run]:
    """Several searches for an optimizer that differ in their seed alone: many end in their own dead end.

    Asked for again, what is finished is kept and what is not goes on.

    Args:
        space: As for `search`.
        count: How many; the first has the space's seed, the others those that follow.
        out: Folder that holds one run folder each, ``seed-7`` and so on.
        quiet: Show no progress bar.
        on_generation: As for `search`.
        callbacks: As for `search`.

    Returns:
        The finished runs, the one first whose winner did best on fresh seeds, on the meta-validation tasks if
        the space has any; those whose funnel nobody came through last.

    Raises:
        EvooptError: Individuals of another type, or as for `search`.
    """
    config = resolve(space)
    if config.individual != "optimizer":
        raise EvooptError("only searches for optimizers have finals that restarts can be ranked by")
    runs = []
    told: Any = {"quiet": quiet, "on_generation": on_generation, "callbacks": callbacks}
    with new_folder(config.name, Path(out) if out is not None else None) as folder:
        seeds = range(config.seed, config.seed + count)
        wanted = {folder / f"seed-{seed}": config.with_options({"seed": seed}) for seed in seeds}
        begun: dict[Path, dict[str, Any]] = {}  # with limits that it did not have
        for one, asked in wanted.items():
            if not (one / CONFIG_FILE).exists():
                continue
            new = {name: asked.option(name) for name in asked.limits}
            with Run(one) as run:
                before, ended = run.config, run.ended_by(new)
            changed = {name: n for name, n in new.items() if n != before.option(name)}
            begun[one] = {} if ended else changed
            if changes := differing_settings(*(c.without(c.limits) for c in (before, asked))):
                shown = "; ".join(list(changes.values())[:3])
                raise EvooptError(f"{one} has other settings ({shown}): give --out another folder")
        for one, seeded in wanted.items():
            if one in begun:
                own = config.execution.model_dump()
                runs.append(resume(one, overrides=own, limits=begun[one], **told))
            else:
                runs.append(search(seeded, out=one, **told))
    return sorted(runs, key=lambda run: _final(run.winner), reverse=True)


def _final(winner: dict[str, Any]) -> tuple[bool, float, float]:
    final, came_through = winner["final"], "lost" not in winner
    if final is None:
        return came_through, 0.0, winner["search_fitness"]
    return came_through, -final["unfinished_rate"], final["score"]


def open_run(folder: str | Path) -> Run:
    """Open a run folder for reading.

    Raises:
        EvooptError: Not a run folder, or one of another version.
    """
    return Run(folder)
