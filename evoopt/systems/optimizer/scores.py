"""From trainings to fitness: one record per training, and the policies that turn records into a fitness."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from evoopt.jobs.records import Evaluation
from evoopt.systems.optimizer.gain_target import LEAST_SPREAD, Target, larger_is_better
from evoopt.training.plan import TrainingResult

SPREAD_SEEDS = 8
"""Fewest seeds that the spread of a baseline is taken from."""

FitnessName = Literal["validation", "gain", "paper", "noise"]


_MEANING: dict[FitnessName, str] = {
    "validation": "mean validation metric over tasks",
    "gain": "mean gain over the tuned baseline over tasks, in standard deviations over its seeds",
    "paper": "published fitness: test metric plus up to 0.05 for a low training loss, mean over tasks",
    "noise": "random numbers: this run is a control, and its winner means nothing",
}
_COMPARED: dict[Target, str] = {
    "score": "",
    "error": "",
    "steps": ", of steps until the training loss is where the baseline's ends",
    "area": ", of the mean training loss",
}


def meaning(fitness: FitnessName, target: Target) -> str:
    """What a fitness is, for people."""
    if fitness == "gain" and target == "error":
        return "mean over tasks of the logarithm of the tuned baseline's error by one's own"
    return _MEANING[fitness] + (_COMPARED[target] if fitness == "gain" else "")


class Gains:
    """Paired differences from a tuned baseline, in standard deviations over its seeds unless of errors.

    What is compared is the metric, or what `evoopt.systems.optimizer.gain_target` makes of the training loss.

    Args:
        baseline: Its trainings, on several seeds per task and length of training.
        target: What is compared.
    """

    def __init__(self, baseline: Iterable[Evaluation], target: Target = "score") -> None:
        rows = [row for row in baseline if row.result.outcome == "ok"]
        self._value = larger_is_better(target, rows)
        self._values: dict[tuple[str, int, int], float] = {}
        samples: dict[tuple[str, int], list[float]] = {}
        for row in rows:
            self._values[row.task, row.replicate, row.repeat] = value = self._value(row)
            samples.setdefault((row.task, row.repeat), []).append(value)
        self._mean = {key: _mean(values) for key, values in samples.items()}
        least = LEAST_SPREAD.get(target)
        self._spread = {
            key: 1.0 if least is None else max(least, _spread(values)) for key, values in samples.items()
        }

    def __call__(self, run: Evaluation) -> float:
        """The gain of one training that ended well; over the mean where the baseline diverged on its seed.

        Raises:
            LookupError: The baseline has no score on that task at that length.
        """
        of = run.task, run.repeat
        value = self._values.get((run.task, run.replicate, run.repeat), self._mean[of])
        return (self._value(run) - value) / self._spread[of]


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


def _spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
