"""Optimizer search: individuals are update rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

from evoopt.config import RunConfig
from evoopt.execution import Executor
from evoopt.jobs.rule_worker import WorkerSetup, make_worker
from evoopt.runs.run import Run
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.evaluator import Evaluator
from evoopt.systems.optimizer.loop import evolve
from evoopt.systems.progress import Progress
from evoopt.tasks import DataOptions


def search(run: Run, config: RunConfig, quiet: bool) -> None:
    """Search to the end, name a winner, and compare it with tuned Adam."""
    config = cast(OptimizerConfig, config)
    if not run.finished:
        _evolve(run, config, quiet)
    if config.search.compare and config.evaluation.fitness != "noise" and run.verdict is None:
        # Imported here because the comparison draws in scipy and matplotlib.
        from evoopt.systems.optimizer.closing_comparison import short_comparison

        answer = short_comparison(run, config, quiet)
        if answer.report is None:
            run.write_verdict(answer.sentence)


def _evolve(run: Run, config: OptimizerConfig, quiet: bool) -> None:
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


def make_run_executor(config: OptimizerConfig) -> Executor:
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
    place = execution.place(evaluation.threads_per_worker)
    return place.start(make_worker, WorkerSetup(evaluation.tasks, data, place.device))
