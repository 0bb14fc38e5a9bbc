"""Successive halving inside a group of members: the worse half stops early.

One rung of Jamieson and Talwalkar (2016), "Non-stochastic Best Arm Identification and Hyperparameter
Optimization": off unless a plan sets ``halve_at``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

STOPPED = "in the worse half when half of the members were stopped"


def better_half(curves: Sequence[Sequence[float]], window: int) -> list[int]:
    """Choose who trains on.

    Args:
        curves: Batch losses of each member so far; that of a member out of the race is empty.
        window: Members are compared by the mean of this many last losses.

    Returns:
        Indices of the ``ceil(n / 2)`` best of all ``n`` members, or of all that are still in the race if
        those are fewer, in ascending order. Ties go to the earlier member.
    """
    means = [math.fsum(c[-window:]) / len(c[-window:]) if c else math.inf for c in curves]
    ranked = sorted((mean, index) for index, mean in enumerate(means) if math.isfinite(mean))
    return sorted(index for _, index in ranked[: math.ceil(len(curves) / 2)])
