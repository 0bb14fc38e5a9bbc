"""The baseline of a search: tuned on every task when a run starts, and kept with the run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evoopt.compare.protocol import Protocol
from evoopt.compare.sources import contender
from evoopt.compare.training_queue import TrainingQueue
from evoopt.compare.tuner import tune
from evoopt.errors import read_as_data
from evoopt.execution import Executor
from evoopt.jobs.no_score import no_score
from evoopt.optim.rule import UpdateRule
from evoopt.runs.run import Run
from evoopt.runs.store import BASELINE, TUNED_AT_THE_END
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.judging_settings import FunnelLevel
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.tasks.source_files import source_digests
from evoopt.training.plan import derive_seed

BASELINE_SEEDS = 2
"""Seeds per tuning trial of a baseline."""

_TUNING = 203


def tuning_trainings(config: OptimizerConfig) -> int:
    """How many trainings the tuning of a run's baseline takes, those for its funnel included."""
    levels = [_whole_search(config)] if config.evaluation.judged_by_gain else []
    protocols = [_protocol(config, level) for level in (*levels, *config.funnel_levels)]
    return sum(len(protocol.tasks) * protocol.tuning_trainings for protocol in protocols)


def tuned_baseline(
    run: Run,
    config: OptimizerConfig,
    executor: Executor,
    on_done: Callable[[int], None] = lambda count: None,
    level: FunnelLevel | None = None,
) -> dict[str, OptimizerGenome]:
    """The baseline's best setting for each task of a search, tuned as in a comparison, on validation data.

    Learning rate, schedule, decay and betas are tuned on seeds that the search does not use.

    Args:
        run: Open for writing; what it knows is not tuned again.
        config: Its configuration, which asks for a baseline.
        executor: Of the search.
        on_done: Called with the number of trainings finished whenever that changes.
        level: What of the funnel it is tuned for; None for search and final.

    Raises:
        NoScoreError: No trial on some task gave a score.
    """
    name = BASELINE if level is None else f"{TUNED_AT_THE_END}{level.name}"
    level = level or _whole_search(config)
    if (known := run.store.meta(name)) is None:
        known = _tune(run, config, executor, on_done, level, run.folder / f"{name}.jsonl")
        run.store.set_meta(name, known)
    with read_as_data("the run's baseline"):
        rules = {task: UpdateRule.from_json(entry["rule"]) for task, entry in known.items()}
    return {task: OptimizerGenome.from_rule(rule) for task, rule in rules.items()}


def _tune(
    run: Run,
    config: OptimizerConfig,
    executor: Executor,
    on_done: Callable[[int], None],
    level: FunnelLevel,
    trials: Path,
) -> dict[str, dict[str, Any]]:
    evaluation = config.evaluation
    protocol = _protocol(config, level)
    place = config.execution.place(evaluation.threads_per_worker)
    queue = TrainingQueue(
        executor,
        evaluation.engine,
        evaluation.chunk_size,
        trials,  # finished ones, so that an interrupted tuning goes on
        # A task of one's own may change as long as nothing but this is begun.
        context={**place.rounding, **asdict(protocol), **source_digests(protocol.tasks)},
        engines=run.store.engines(),
        on_done=on_done,
    )
    one = contender(evaluation.baseline)
    tuners = tune([one], protocol, queue)
    run.store.save_engines({**queue.engines(), **run.store.engines()})
    known = {}
    for task in protocol.tasks:
        (tuner,) = tuners[task, one.name]
        best = tuner.best
        if math.isnan(best.metric):
            raise no_score(task, tuner.unsuccessful, evaluation.max_loss, "evaluation.max_loss")
        rule = one.member(best.setting, level.steps)
        assert isinstance(rule, UpdateRule), "presets are rules"
        known[task] = {
            "name": one.name,
            "rule": rule.to_json(),
            "setting": best.setting.describe(),
            "metric": best.metric,
        }
    return known


def _whole_search(config: OptimizerConfig) -> FunnelLevel:
    return FunnelLevel("", tuple(dict.fromkeys(config.judged_tasks)), config.evaluation.steps, 0)


def _protocol(config: OptimizerConfig, level: FunnelLevel) -> Protocol:
    evaluation = config.evaluation
    return Protocol(
        tasks=level.tasks,
        steps=level.steps,
        trials=evaluation.baseline_trials,
        tuning_seeds=BASELINE_SEEDS,
        seed=derive_seed(config.search.seed, _TUNING),
        batch_size=evaluation.batch_size,
        max_loss=evaluation.max_loss,
    )
