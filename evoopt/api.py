"""The Python API behind the command line: `search`, `resume`, `open_run`."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from evoopt.config import Config, load_space
from evoopt.errors import EvooptError
from evoopt.evolution.evaluation import Evaluator
from evoopt.evolution.loop import evolve
from evoopt.evolution.worker import WorkerSetup, make_worker
from evoopt.execution import Executor, make_executor
from evoopt.execution.pool import refuse_unguarded_main
from evoopt.progress import Progress
from evoopt.runs.run import Run
from evoopt.tasks import DataOptions, get_task


def search(
    space: str | Config = "quick",
    *,
    out: str | Path | None = None,
    quiet: bool = True,
    overrides: dict[str, dict[str, Any]] | None = None,
) -> Run:
    """Search for an optimizer and keep everything in a run folder.

    Args:
        space: A shipped search space's name, a TOML file's path, or a `Config`.
        out: Run folder, new or empty; by default ``runs/<space>-<time>`` below the current folder.
        quiet: Show no progress bar.
        overrides: Settings by section, e.g. ``{"search": {"population": 12}}``.

    Returns:
        The finished run, open for reading.

    Raises:
        EvooptError: Anything the user can mend, in one line.
        KeyboardInterrupt: Interrupted; the folder can be resumed.
    """
    refuse_unguarded_main()
    config = resolve(space, overrides)
    folder = Path(out) if out is not None else default_folder(config)
    # What can be told before the start must not leave a folder behind.
    _check_device(config.execution.device)
    for task in config.evaluation.tasks:
        get_task(task)
    with Run.create(folder, config) as run:
        _go(run, config, quiet)
    return Run(folder)


def resume(folder: str | Path, *, quiet: bool = True, overrides: dict[str, Any] | None = None) -> Run:
    """Go on with an interrupted run; it ends as if it had never been interrupted.

    Args:
        folder: The run folder.
        quiet: Show no progress bar.
        overrides: Settings of the section ``execution`` (workers, executor, device, data_dir).

    Returns:
        The finished run, open for reading.

    Raises:
        EvooptError: Not a run folder, in use, of another version, or anything else the user can mend.
    """
    refuse_unguarded_main()
    with Run(folder, writable=True) as run:
        _go(run, run.config.override({"execution": overrides or {}}), quiet)
    return Run(folder)


def open_run(folder: str | Path) -> Run:
    """Open a run folder for reading.

    Raises:
        EvooptError: Not a run folder, or one of another version.
    """
    return Run(folder)


def resolve(space: str | Config, overrides: dict[str, dict[str, Any]] | None = None) -> Config:
    """The configuration that a search would run with.

    Raises:
        EvooptError: An unknown space or a bad value.
    """
    config = space if isinstance(space, Config) else load_space(space)
    if isinstance(space, str):
        config = config.model_copy(update={"name": Path(space).stem})
    config = config.override(overrides or {})
    tasks = [_absolute(task) for task in config.evaluation.tasks]
    return config.override({"evaluation": {"tasks": tasks}})


def default_folder(config: Config) -> Path:
    """A folder name that sorts by time."""
    return Path("runs") / f"{config.name}-{time.strftime('%Y%m%d-%H%M%S')}"


def make_run_executor(config: Config) -> Executor:
    """The executor a configuration asks for."""
    evaluation, execution = config.evaluation, config.execution
    data = DataOptions(
        data_dir=Path(execution.data_dir) if execution.data_dir else None,
        train_size=evaluation.train_size,
        seed=config.search.seed,
        unseal_test=evaluation.fitness == "paper",
    )
    if evaluation.fitness == "paper":
        # The published search trains on the whole subset and scores on the test set.
        data = replace(data, validation_fraction=0.0)
    return make_executor(
        execution.executor,
        make_worker,
        WorkerSetup(evaluation.tasks, data, execution.device),
        workers=execution.workers,
        threads_per_worker=evaluation.threads_per_worker,
        timeout_s=execution.timeout_s,
    )


def _go(run: Run, config: Config, quiet: bool) -> None:
    if not run.finished:
        _search(run, config, quiet)
    if config.search.compare and config.evaluation.fitness != "noise" and run.verdict is None:
        # Imported here because the comparison draws in scipy and matplotlib.
        from evoopt.compare.short import short_comparison

        answer = short_comparison(run, config, quiet)
        if answer.report is None:
            run.write_verdict(answer.sentence)


def _search(run: Run, config: Config, quiet: bool) -> None:
    _check_device(config.execution.device)
    state = run.store.checkpoint() or {}
    progress = Progress(config, quiet, state.get("scheme", {}).get("generation", 0))
    executor = make_run_executor(config)
    try:
        evaluator = Evaluator(config, executor, run.store, on_chunk=progress.chunk_done)
        evolve(config, evaluator, run.store, progress)
        run.write_result()
    finally:
        progress.close()
        executor.close()


def _check_device(device: str) -> None:
    if not device.startswith("cuda"):
        return
    count = torch.cuda.device_count()
    index = int(device.partition(":")[2] or 0)
    if index >= count:
        found = f"torch sees {count} CUDA device{'' if count == 1 else 's'}"
        raise EvooptError(
            f"device {device!r} is not available: {found}; use --device cpu or install torch for CUDA"
        )


def _absolute(task: str) -> str:
    file, separator, function = task.rpartition(":")
    if not separator or not file.endswith(".py"):
        return task
    if not Path(file).is_file():
        raise EvooptError(f"task file {file} does not exist; write --task path/to/file.py:function")
    return f"{Path(file).resolve()}:{function}"
