"""When a search cannot go on, because nothing it trains on some task ends with a score."""

from __future__ import annotations

from collections.abc import Sequence

from evoopt.jobs.no_score import no_score
from evoopt.jobs.records import Evaluation
from evoopt.runs.store import RunStore
from evoopt.systems.optimizer.config import OptimizerConfig


def refuse_broken_tasks(
    config: OptimizerConfig, rows: Sequence[Evaluation], archive: RunStore, generation: int
) -> None:
    """Check that a generation has a score on every task on which none has been reached before.

    Args:
        config: The run's configuration.
        rows: The generation's trainings.
        archive: Knows the earlier ones, and forgets those of a broken task.
        generation: Number of the generation.

    Raises:
        NoScoreError: On some task no training of the run has ever succeeded; the message gives the reason.
    """
    evaluation, last = config.evaluation, config.search.generations - 1
    errors = []
    for task in evaluation.tasks:
        results = [row.result for row in rows if row.task == task]
        outcomes = {result.outcome for result in results}
        # Rules that were rejected before training say nothing about the task: others may follow.
        hopeless = outcomes != {"stopped"} or generation == last
        if "ok" not in outcomes and hopeless and not archive.has_succeeded(task):
            archive.discard(generation, task)
            errors.append(no_score(task, results, evaluation.max_loss, "evaluation.max_loss"))
    if errors:
        raise errors[0]
