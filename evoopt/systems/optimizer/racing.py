"""Racing over seeds: who is clearly worse than the best of its generation gets no further seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from evoopt.jobs.records import Evaluation

STANDARD_ERRORS = 2.0
"""How far behind is clearly worse: by chance alone, one in 44 of those who are as good."""


def clearly_worse(
    rows: Iterable[Evaluation], best: Iterable[Evaluation], gains: Callable[[Evaluation], float]
) -> bool:
    """Whether a rule's gains lie behind those of the best by more than chance would have it.

    The mean difference on the same tasks and seeds is held against `STANDARD_ERRORS`. The standard error is
    none of a sample, for of one or two seeds there is no spread to speak of: gains are in standard deviations
    over seeds, so the difference of two has one of sqrt(2), and the mean of ``n`` such sqrt(2 / n). As pairs
    share initial weights and minibatches it is less in truth, which keeps more in the race, not fewer.

    Args:
        rows: The rule's trainings.
        best: Those of the best.
        gains: Gives the gain of a training that ended well.

    Returns:
        True also of a rule with a training that gave no score where the best has one.
    """
    of_best = {(row.task, row.replicate): row for row in best if row.result.outcome == "ok"}
    pairs = [(row, of_best[at]) for row in rows if (at := (row.task, row.replicate)) in of_best]
    if any(row.result.outcome != "ok" for row, _ in pairs):
        return True
    behind = sum(gains(other) - gains(row) for row, other in pairs)
    return bool(pairs) and behind / len(pairs) > STANDARD_ERRORS * math.sqrt(2 / len(pairs))
