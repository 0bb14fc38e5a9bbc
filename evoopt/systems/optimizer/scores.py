"""From trainings to fitness: one record per training, and the policies that turn records into a fitness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from evoopt.jobs.records import Evaluation
from evoopt.training.plan import TrainingResult

FitnessName = Literal["validation", "paper", "noise"]


def fitness_values(
    fitness: FitnessName, runs: Sequence[Evaluation], tasks: Sequence[str]
) -> tuple[float, float, float]:
    """Rate of trainings without a score, score and loss of one individual.

    ``validation``: trainings that diverged, failed or were stopped count in the rate and nowhere else; score
    and loss are means over tasks of means over the other seeds (a task without any scores 0). ``paper``: A3
    of the published search, ``metric + 0.05*max(0, 1 - train_loss)``, -1 for a divergence, -1 altogether
    if a training failed.

    Args:
        fitness: Which policy; ``noise`` is drawn elsewhere.
        runs: The individual's trainings, at least one per task.
        tasks: Task names.
    """
    if fitness == "paper":
        return 0.0, _paper_score(runs, tasks), 0.0
    bad = sum(run.result.outcome != "ok" for run in runs)
    scores, losses = [], []
    for task in tasks:
        good = [run.result for run in runs if run.task == task and run.result.outcome == "ok"]
        scores.append(_mean([result.metric for result in good]) if good else 0.0)
        losses.extend([_mean([result.eval_loss for result in good])] if good else [])
    return bad / len(runs), _mean(scores), _mean(losses) if losses else float("inf")


def task_scores(
    fitness: FitnessName, runs: Sequence[Evaluation], tasks: Sequence[str]
) -> dict[str, float | None]:
    """Score per task, None where no training ended well."""
    scores: dict[str, float | None] = {}
    for task in tasks:
        of_task = [run for run in runs if run.task == task]
        if fitness == "paper":
            scores[task] = _paper_score(of_task, [task])
        else:
            good = [run.result.metric for run in of_task if run.result.outcome == "ok"]
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


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
