"""How fast contenders learn: smoothed training loss, steps to a target, performance profiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

CURVE_POINTS = 200
TARGET_SLACK = 1.05
PROFILE_LIMIT = 4.0

Floats = NDArray[np.float64]


def smoothing_window(steps: int) -> int:
    """Steps that a smoothed training loss is averaged over: a twentieth of the training, at most 50."""
    return max(1, min(50, steps // 20))


def stride(steps: int) -> int:
    """Steps between two points of a kept learning curve, so that there are at most `CURVE_POINTS`."""
    return max(1, math.ceil(steps / CURVE_POINTS))


def smooth_curve(losses: Sequence[float], steps: int) -> tuple[float, ...]:
    """Trailing mean of the batch losses at every `stride`-th step.

    Args:
        losses: Batch loss of each step done.
        steps: Steps planned, which decide window and stride.
    """
    if not losses:
        return ()
    window, every = smoothing_window(steps), stride(steps)
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(losses, np.float64))])
    ends = np.arange(every, len(losses) + 1, every)
    starts = np.maximum(ends - window, 0)
    return tuple(((sums[ends] - sums[starts]) / (ends - starts)).tolist())


def steps_to_target(curve: Sequence[float], target: float, steps: int) -> float:
    """First step at which a smoothed curve is at the target or below; infinite if it never is.

    Args:
        curve: From `smooth_curve`.
        target: Training loss to reach.
        steps: Steps planned.
    """
    reached = np.flatnonzero(np.asarray(curve, np.float64) <= target)
    return float((reached[0] + 1) * stride(steps)) if len(reached) else math.inf


def speeds(
    curves: Mapping[str, Sequence[Sequence[float]]], reference: str, steps: int
) -> dict[str, list[float]]:
    """Steps to target per contender and seed.

    The target of a seed is the lowest smoothed training loss that the reference reaches from that seed, plus
    5% of its size: both saw the same minibatches, and the reference reaches its own target by definition. A
    seed on which the reference has no curve counts for nobody.

    Args:
        curves: One smoothed curve per seed, by contender; empty for a training that did not end well.
        reference: Name of the contender that sets the target.
        steps: Steps planned.
    """
    seeds = [k for k, curve in enumerate(curves[reference]) if len(curve)]
    lowest = {k: min(curves[reference][k]) for k in seeds}
    targets = {k: loss + (TARGET_SLACK - 1) * abs(loss) for k, loss in lowest.items()}
    return {
        name: [steps_to_target(rows[k], targets[k], steps) for k in seeds] for name, rows in curves.items()
    }


def performance_profile(times: Mapping[str, Sequence[float]], taus: Floats) -> dict[str, list[float]]:
    """Share of problems on which a contender needs at most ``tau`` times the steps of the fastest.

    Dolan and Moré (2002), as used by AlgoPerf (Dahl et al. 2023, section 4.3). A problem that nobody solves
    counts as unsolved for all.

    Args:
        times: Steps to target on each problem (task and seed), by contender; infinite if not reached.
        taus: Factors, ``[t]``, each at least 1.
    """
    table = np.array([list(row) for row in times.values()], np.float64)
    if table.size == 0:
        return {name: [] for name in times}
    fastest = table.min(axis=0)
    solved = np.isfinite(fastest)
    ratios = np.full(table.shape, math.inf)
    ratios[:, solved] = table[:, solved] / fastest[solved]
    return {
        name: (ratio <= taus[:, None]).mean(axis=1).tolist()
        for name, ratio in zip(times, ratios, strict=True)
    }


def profile_score(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Area under each performance profile between 1 and `PROFILE_LIMIT`, as a share of the largest possible.

    1 means fastest on every problem, 0 never within that many times the fastest (AlgoPerf's benchmark score).
    """
    from scipy.integrate import trapezoid  # by those alone who compute

    taus = np.linspace(1.0, PROFILE_LIMIT, 301)
    profiles = performance_profile(times, taus)
    return {
        name: float(trapezoid(profile, taus)) / (PROFILE_LIMIT - 1) if profile else math.nan
        for name, profile in profiles.items()
    }
