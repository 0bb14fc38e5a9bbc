"""What a gain compares: the score at the end, or the training loss on the way there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from evoopt.jobs.records import Evaluation

Target = Literal["score", "error", "steps", "area"]

LEAST_SPREAD: dict[Target, float] = {"score": 1e-3, "steps": 1e-2, "area": 1e-3}
"""Spreads over the baseline's seeds are at least this: on a task that every seed solves alike, one example
would be a triumph. A target without one is not divided by a spread."""

LEAST_ERROR = 1e-3
"""Of errors that are compared by their logarithm."""


def larger_is_better(target: Target, baseline: Iterable[Evaluation]) -> Callable[[Evaluation], float]:
    """The number that is compared, of trainings that ended well.

    ``score`` is the metric on the scored examples. ``error`` is the logarithm of one less the metric, times
    -1: a gain of 0.1 is an error smaller by a tenth, whatever seeds' spread. ``area`` is the mean batch loss
    over all steps, times -1. ``steps`` is the part of its steps that a training took until its batch loss was
    down to where that of the baseline ends, in the mean over its seeds, times -1; one that never came there
    takes more than 1, by what is missing as a part of what the baseline came down.

    Args:
        target: Which of them.
        baseline: Trainings of the baseline, with curves unless the target is ``score``.

    Returns:
        A function of a training, which raises LookupError where ``steps`` has no baseline on that task at
        that length.
    """
    if target == "score":
        return lambda run: run.result.metric
    if target == "error":
        return lambda run: -math.log(max(1 - run.result.metric, LEAST_ERROR))
    if target == "area":
        return lambda run: -_mean(run.result.curve)
    curves: dict[tuple[str, int], list[Sequence[float]]] = {}
    for row in baseline:
        if row.result.outcome == "ok":
            curves.setdefault((row.task, row.repeat), []).append(row.result.curve)
    ends = {key: (_mean([c[0] for c in of]), _mean([c[-1] for c in of])) for key, of in curves.items()}
    return lambda run: -part_until(run.result.curve, *ends[run.task, run.repeat])


def part_until(curve: Sequence[float], start: float, level: float) -> float:
    """Part of a training after which its losses, means over equal parts, were down to a level.

    Args:
        curve: The means; each stands for the middle of its part.
        start: Where the baseline began.
        level: Where it ended.

    Returns:
        In (0, 1], interpolated; above 1 if the level was never reached.
    """
    for k, loss in enumerate(curve):
        if loss <= level:
            before = curve[k - 1] if k else start
            within = (before - level) / (before - loss) if before > level else 0.0
            return max(k - 0.5 + within, 0.0) / (len(curve) - 0.5)
    missing = min(curve) - level
    return 1 + missing / max(abs(start - level), 1e-12)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)  # in any order: a resumed run reads them in another
