"""From trainings to fitness: one record per training, and the policies that turn records into a fitness."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from evoopt.jobs.records import Evaluation
from evoopt.training.plan import TrainingResult

SPREAD_SEEDS = 8
"""Fewest seeds that the spread of a baseline is taken from."""

_LEAST_SPREAD = 1e-3

FitnessName = Literal["validation", "gain", "paper", "noise"]


MEANING: dict[FitnessName, str] = {
    "validation": "mean validation metric over tasks",
    "gain": "mean gain over the tuned baseline over tasks, in standard deviations over its seeds",
    "paper": "published fitness: test metric plus up to 0.05 for a low training loss, mean over tasks",
    "noise": "random numbers: this run is a control, and its winner means nothing",
}
"""What a fitness is, for people."""


class Gains:
    """Paired differences from a tuned baseline, in standard deviations over the baseline's seeds.

    Args:
        baseline: Its trainings, on several seeds per task and length of training.
    """

    def __init__(self, baseline: Iterable[Evaluation]) -> None:
        self._metric: dict[tuple[str, int, int], float] = {}
        samples: dict[tuple[str, int], list[float]] = {}
        for row in baseline:
            if row.result.outcome == "ok":
                self._metric[row.task, row.replicate, row.repeat] = row.result.metric
                samples.setdefault((row.task, row.repeat), []).append(row.result.metric)
        self._mean = {key: _mean(metrics) for key, metrics in samples.items()}
        self._spread = {key: _spread(metrics) for key, metrics in samples.items()}

    def __call__(self, run: Evaluation) -> float:
        """The gain of one training that ended well; over the mean where the baseline diverged on its seed.

        Raises:
            LookupError: The baseline has no score on that task at that length.
        """
        of = run.task, run.repeat
        metric = self._metric.get((run.task, run.replicate, run.repeat), self._mean[of])
        return (run.result.metric - metric) / self._spread[of]


def fitness_values(
    fitness: FitnessName,
    runs: Sequence[Evaluation],
    tasks: Sequence[str],
    gains: Callable[[Evaluation], float] | None = None,
) -> tuple[float, float, float]:
    """Rate of trainings without a score, score and loss of one individual.

    ``validation``: trainings that diverged, failed or were stopped count in the rate and nowhere else; score
    and loss are means over tasks of means over the other seeds (a task without any scores 0). ``paper``: A3
    of the published search, ``metric + 0.05*max(0, 1 - train_loss)``, -1 for a divergence, -1 altogether
    if a training failed.

    Args:
        fitness: Which policy; ``noise`` is drawn elsewhere. ``gain`` is as ``validation``, of gains.
        runs: The individual's trainings, at least one per task.
        tasks: Task names.
        gains: Gives the gain of a training, for ``gain``.
    """
    if fitness == "paper":
        return 0.0, _paper_score(runs, tasks), 0.0
    bad = sum(run.result.outcome != "ok" for run in runs)
    by_task = task_scores(fitness, runs, tasks, gains)
    scores = [0.0 if (score := by_task[task]) is None else score for task in tasks]
    losses = []
    for task in tasks:
        good = [r.result.eval_loss for r in runs if r.task == task and r.result.outcome == "ok"]
        losses.extend([_mean(good)] if good else [])
    return bad / len(runs), _mean(scores), _mean(losses) if losses else float("inf")


def task_scores(
    fitness: FitnessName,
    runs: Sequence[Evaluation],
    tasks: Sequence[str],
    gains: Callable[[Evaluation], float] | None = None,
) -> dict[str, float | None]:
    """Score per task, None where no training ended well."""
    scores: dict[str, float | None] = {}
    for task in tasks:
        of_task = [run for run in runs if run.task == task]
        if fitness == "paper":
            scores[task] = _paper_score(of_task, [task])
        else:
            value = gains if fitness == "gain" and gains else _metric
            good = [value(run) for run in of_task if run.result.outcome == "ok"]
            scores[task] = _mean(good) if good else None
    return scores


def _paper_score(runs: Sequence[Evaluation], tasks: Sequence[str]) -> float:
    if any(run.result.outcome == "failed" for run in runs):
        return -1.0
    return _mean([_mean([_paper_run(run.result) for run in runs if run.task == task]) for task in tasks])


def _paper_run(result: TrainingResult) -> float:
    if result.outcome != "ok":
        return -1.0
    return result.metric + 0.05 * max(0.0, 1.0 - result.train_loss)


def _metric(run: Evaluation) -> float:
    return run.result.metric


def _spread(metrics: Sequence[float]) -> float:
    # A tenth of a point at least: on a task that every seed solves alike, one example would be a triumph.
    return max(_LEAST_SPREAD, statistics.stdev(metrics) if len(metrics) > 1 else 0.0)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
