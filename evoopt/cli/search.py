"""`evoopt search`, `resume`, `show`, `spaces`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from evoopt.cli.app import (
    EXIT_INTERRUPTED,
    Callbacks,
    DataDir,
    Device,
    Executor,
    LogDir,
    Precision,
    Quiet,
    RunFolder,
    Scheduler,
    Workers,
    app,
    executor_kind,
    list_lines,
)
from evoopt.cli.completion import space_names, task_names
from evoopt.errors import command, in_shell, read_as_data

if TYPE_CHECKING:
    from evoopt.callbacks import Callback

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """A time such as 90s, 30m or 2h.

    Raises:
        typer.BadParameter: Something else.
    """
    number, unit = text[:-1], text[-1:]
    try:
        value = float(number) * _UNITS[unit]
    except (KeyError, ValueError):
        value = 0.0
    if not 0 < value < float("inf"):
        raise typer.BadParameter(f"{text!r} is no time: write 90s, 30m or 2h")
    return value


MaxTime = Annotated[
    float | None,
    typer.Option(parser=seconds, metavar="TIME", help="No generation begins after 90s, 30m or 2h."),
]
MaxTrainings = Annotated[int | None, typer.Option(help="No generation begins after so many trainings.")]
Patience = Annotated[int | None, typer.Option(help="End after so many generations without a better best.")]


@app.command()
def search(
    space: Annotated[
        str,
        typer.Argument(
            help="A search space's name (see `evoopt spaces`) or TOML file.", autocompletion=space_names
        ),
    ] = "quick",
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Task to search on, repeatable: a name (see `evoopt tasks`) or file.py:function.",
            autocompletion=task_names,
        ),
    ] = None,
    population: Annotated[int | None, typer.Option(help="Individuals per generation.")] = None,
    generations: Annotated[int | None, typer.Option(help="Generations.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps per training.")] = None,
    seed: Annotated[int | None, typer.Option(help="Root of all randomness.")] = None,
    max_time: MaxTime = None,
    max_trainings: MaxTrainings = None,
    patience: Patience = None,
    prefer: Annotated[
        str | None, typer.Option(help="Who of a front wins: accuracy, memory or speed.")
    ] = None,
    funnel: Annotated[
        str | None,
        typer.Option(
            metavar="LEVELS",
            help="Where finalists must still gain: longer, larger or longer,larger; '' for nowhere.",
        ),
    ] = None,
    restarts: Annotated[
        int,
        typer.Option(min=1, help="Searches that differ in their seed; the best in its final comes first."),
    ] = 1,
    engine: Annotated[str | None, typer.Option(help="auto, batched or sequential training.")] = None,
    compare: Annotated[
        bool | None, typer.Option("--compare/--no-compare", help="End with a comparison against tuned Adam.")
    ] = None,
    workers: Workers = None,
    executor: Executor = None,
    scheduler: Scheduler = None,
    device: Device = None,
    precision: Precision = None,
    data_dir: DataDir = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/<space>-<time> by default.")] = None,
    log_dir: LogDir = None,
    callback: Callbacks = None,
    quiet: Quiet = False,
) -> None:
    """Evolve an optimizer, or whatever the space describes, and leave a run folder."""
    from evoopt.config import resolve

    execution = _execution(workers, executor, scheduler, device, precision, data_dir)
    config = resolve(space, {"execution": execution})
    if task:
        config = config.with_tasks(tuple(task))
    given = {"population": population, "generations": generations, "steps": steps, "seed": seed}
    limits = {"max_time": max_time, "max_trainings": max_trainings, "patience": patience}
    levels = None if funnel is None else [name.strip() for name in funnel.split(",") if name.strip()]
    ending = {"prefer": prefer, "funnel": levels, "compare": compare}
    config = config.with_options({**given, **limits, **ending, "engine": engine})
    told = _callbacks(callback, log_dir)

    from evoopt import api  # which takes seconds that whoever mistyped an option need not wait
    from evoopt.individuals import individual_type
    from evoopt.runs.folders import new_folder

    with new_folder(config.name, out) as folder:
        try:
            if restarts > 1:
                runs = api.search_restarts(config, restarts, out=folder, quiet=quiet, callbacks=told)
                typer.echo("\n\n".join(map(individual_type(config.individual).text.describe_result, runs)))
                return
            with api.search(config, out=folder, quiet=quiet, callbacks=told) as run:
                typer.echo(individual_type(config.individual).text.describe_result(run))
        except KeyboardInterrupt:
            _interrupted(folder)


@app.command()
def resume(
    run: RunFolder,
    from_backup: Annotated[
        bool, typer.Option("--from-backup", help="Go back to the last good state of a damaged run.")
    ] = False,
    changed: Annotated[
        bool, typer.Option("--changed", help="Go on though settings or task files have changed; it is noted.")
    ] = False,
    max_time: MaxTime = None,
    max_trainings: MaxTrainings = None,
    patience: Patience = None,
    workers: Workers = None,
    executor: Executor = None,
    scheduler: Scheduler = None,
    device: Device = None,
    precision: Precision = None,
    data_dir: DataDir = None,
    log_dir: LogDir = None,
    callback: Callbacks = None,
    quiet: Quiet = False,
) -> None:
    """Go on with an interrupted run, which ends as if it had never been interrupted; or with one that a limit
    ended, given another limit."""
    from evoopt import api
    from evoopt.individuals import individual_type
    from evoopt.runs.run import Run

    execution = _execution(workers, executor, scheduler, device, precision, data_dir)
    limits = {"max_time": max_time, "max_trainings": max_trainings, "patience": patience}
    if not from_backup:
        with Run(run) as before:
            done = before.complete and not before.uncompared
            if done and not before.goes_on_with(limits):
                more = "; --max-time, --max-trainings or --patience has it go on" if before.ended else ""
                typer.echo(f"nothing was left to do: {run} is finished{more}", err=True)
    try:
        with api.resume(
            run,
            quiet=quiet,
            overrides=execution,
            limits=limits,
            from_backup=from_backup,
            changed=changed,
            callbacks=_callbacks(callback, log_dir),
        ) as finished:
            typer.echo(individual_type(finished.config.individual).text.describe_result(finished))
    except KeyboardInterrupt:
        _interrupted(run)


@app.command()
def show(run: RunFolder) -> None:
    """Show a run: best rule, fitness, lineage, term counts per generation."""
    from evoopt.individuals import individual_type
    from evoopt.runs.run import Run

    with Run(run) as opened, read_as_data(str(run)):
        opened.store.check()
        typer.echo(individual_type(opened.config.individual).text.describe_run(opened))


@app.command()
def spaces() -> None:
    """List the shipped search spaces."""
    from evoopt.config.spaces import describe_spaces

    list_lines(describe_spaces())


def _callbacks(names: list[str] | None, log_dir: Path | None) -> list[Callback]:
    if not names and log_dir is None:
        return []
    from evoopt.callbacks import TensorBoard, load_callback

    return [*map(load_callback, names or ()), *([] if log_dir is None else [TensorBoard(log_dir)])]


def _interrupted(folder: Path) -> NoReturn:
    from evoopt.runs.run import CONFIG_FILE

    if (folder / CONFIG_FILE).exists():
        typer.echo(
            f"stopped; everything done so far is kept. Go on with: {command('resume', folder)}", err=True
        )
    elif list(folder.glob(f"*/{CONFIG_FILE}")):
        typer.echo(f"stopped; repeat the command with --out {in_shell(folder)} to go on", err=True)
    sys.exit(EXIT_INTERRUPTED)


def _execution(
    workers: int | None,
    executor: str | None,
    scheduler: str | None,
    device: str | None,
    precision: str | None,
    data_dir: Path | None,
) -> dict[str, Any]:
    return {
        "workers": workers,
        "executor": executor_kind(executor, scheduler),
        "scheduler": scheduler,
        "device": device,
        "precision": precision,
        "data_dir": str(data_dir.resolve()) if data_dir else None,
    }
