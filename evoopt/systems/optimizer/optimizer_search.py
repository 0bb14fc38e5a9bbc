"""Optimizer search: individuals are update rules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from evoopt.config import RunConfig
from evoopt.evolution.budget import Budget
from evoopt.evolution.scored import ScoredScheme
from evoopt.evolution.stages import Stage, evolve
from evoopt.execution import Executor
from evoopt.execution.process_setup import usable_cores
from evoopt.jobs.rule_worker import WorkerSetup, make_worker
from evoopt.runs.checkpoints import Checkpoints
from evoopt.runs.finished_chunks import states_folder
from evoopt.runs.run import Run
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.evaluator import Evaluator
from evoopt.systems.optimizer.funnel import Baselines, pass_funnel
from evoopt.systems.optimizer.judging_settings import FunnelLevel
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.scheme import RuleJudge, rule_generations
from evoopt.systems.progress import Progress
from evoopt.tasks import DataOptions


def search(run: Run, config: RunConfig, quiet: bool) -> None:
    """Search to the end, name a winner, and compare it with tuned Adam."""
    config = cast(OptimizerConfig, config)
    if not run.finished:
        _evolve(run, config, quiet)
    if run.uncompared:
        # Imported here because the comparison draws in scipy and matplotlib.
        from evoopt.systems.optimizer.closing_comparison import short_comparison

        answer = short_comparison(run, config, quiet)
        if answer.report is None:
            run.write_verdict(answer.sentence)


def _evolve(run: Run, config: OptimizerConfig, quiet: bool) -> None:
    search, checkpoints, per_generation = config.search, Checkpoints(run), config.trainings_per_generation
    total = per_generation * search.generations
    if config.evaluation.judged_by_gain:
        from evoopt.systems.optimizer.baseline import tuning_trainings

        total += tuning_trainings(config)
    total += search.finalists * search.final_replicates * len(config.evaluation.tasks)
    total += (
        search.finalists * search.final_replicates * sum(len(level.tasks) for level in config.funnel_levels)
    )
    run.store.states = states_folder(run, config.execution.place(config.evaluation.threads_per_worker))
    with (
        make_run_executor(config) as executor,
        Progress(total, "training", per_generation * checkpoints.done, quiet) as progress,
    ):

        def stage_done(stage: Stage) -> None:
            assert stage.record is not None, "every stage is a generation"
            # Cached and averaged individuals make a generation shorter or longer than expected.
            progress.expect(stage.record["trainings"] - per_generation)
            progress.stage_done(stage)

        def tuned(level: FunnelLevel | None = None) -> dict[str, OptimizerGenome]:
            # Imported here because tuning draws in scipy.
            from evoopt.systems.optimizer.baseline import tuned_baseline

            return tuned_baseline(run, config, executor, progress.advance, level)

        baseline = tuned() if config.evaluation.judged_by_gain else None
        evaluator = Evaluator(
            config, executor, run.store, progress.advance, baseline,
            on_timed=lambda task, ms: progress.tell(expected_time(config, task, ms)),
        )  # fmt: skip
        evolve_rules(run, config, evaluator, stage_done, tuned)
    run.write_result()


def expected_time(config: OptimizerConfig, task: str, ms: float) -> str:
    """What a person should know of a search before it starts.

    Args:
        config: Its configuration.
        task: One of its tasks.
        ms: Milliseconds of a step of one training on it.
    """
    search, evaluation, execution = config.search, config.evaluation, config.execution
    share = search.population * search.generations / len(evaluation.tasks)
    trainings = round(config.trainings_per_individual * share)
    threads = evaluation.threads_per_worker
    workers = 1 if execution.executor == "serial" else execution.workers or max(1, usable_cores() // threads)
    minutes = trainings * evaluation.steps * ms / 60e3 / workers
    time = f"{minutes / 60:.1f} hours" if minutes > 90 else f"{math.ceil(minutes)} min"
    return (
        f"{Path(task).name}: {ms:.3g} ms per step of a training; up to {trainings:,} trainings of "
        f"{evaluation.steps:,} steps take about {time} on {workers} process{'es' if workers > 1 else ''}"
    )


def evolve_rules(
    run: Run,
    config: OptimizerConfig,
    evaluator: Evaluator,
    on_stage: Callable[[Stage], None] = lambda stage: None,
    tune: Callable[[FunnelLevel], Baselines] = lambda level: {},
) -> None:
    """Evolve to the end, from the run's checkpoint if there is one, and name the winner.

    Args:
        run: Open for writing.
        config: Its configuration.
        evaluator: Scores.
        on_stage: Told of every generation.
        tune: Gives the baseline for a level of the funnel.
    """
    judge = RuleJudge(config, evaluator)
    budget = Budget(config.search, run.generations, quality=_unselected)
    scheme = ScoredScheme(rule_generations(config), config.search.generations, judge, budget.spent)
    evolve(scheme, Checkpoints(run), on_stage, budget)
    run.note_end(budget.why)
    winner = judge.winner()
    if config.search.funnel and winner["finalists"]:
        winner = pass_funnel(winner, config, evaluator.validation, tune)
    run.store.save_winner(winner)


def _unselected(record: dict[str, Any]) -> float:
    """What was not selected on says whether there is progress, where there is such."""
    return float(record["best"] if record.get("meta") is None else record["meta"])


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
    return place.start(make_worker, WorkerSetup(config.every_task, data, place.device))
