"""From the scores of a comparison to its statements: differences, speed, cost, overall ratios."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from evoopt.compare.result import Comparison
from evoopt.compare.speed import profile_score, speeds
from evoopt.compare.statistics import (
    ALPHA,
    RESAMPLES,
    Floats,
    PairedDifference,
    expanded_interval,
    holm,
    minimum_detectable_effect,
    paired_difference,
    smallest_p_value,
)

Finding = Literal["better", "worse", "no detectable difference"]


@dataclass(frozen=True)
class Row:
    """One contender on one task, held against the reference.

    Attributes:
        task: Task name.
        name: Contender's name.
        mean: Mean test metric over the seeds that ended well; NaN without any.
        deviation: Standard deviation over the same.
        divergence_rate: Share of the seeds that did not end well.
        error_ratio: Mean test error divided by the reference's, on the seeds where both ended well: the score
            normalised per task, below 1 is better. An error below half an example counts as that.
        difference: Against the reference, seed by seed; None for the reference itself.
        p_adjusted: Holm-adjusted p-value over all contenders and tasks; NaN for the reference.
        detectable: Smallest true difference that would be found with 80% probability, at the level left for
            the most significant test of the family; NaN for the reference.
        finding: What that means; None for the reference.
        steps_to_target: Median steps until the training loss that the reference reaches (see
            `evoopt.compare.speed.speeds`); infinite if it is not reached from half of the seeds.
        step_us: Wall time of one optimizer step in microseconds.
        state_per_weight: Bytes of optimizer state per weight of the model.
    """

    task: str
    name: str
    mean: float
    deviation: float
    divergence_rate: float
    error_ratio: float
    difference: PairedDifference | None
    p_adjusted: float
    detectable: float
    finding: Finding | None
    steps_to_target: float
    step_us: float
    state_per_weight: float


@dataclass(frozen=True)
class Overall:
    """One contender over all tasks.

    Attributes:
        name: Contender's name.
        error_ratio: Geometric mean over tasks of the ratio of its test error to the reference's; NaN if it is
            missing on a task.
        low: Lower end of its 95% bootstrap interval over seeds.
        high: Upper end.
        profile_score: Area under its performance profile, 0 to 1.
    """

    name: str
    error_ratio: float
    low: float
    high: float
    profile_score: float


@dataclass(frozen=True)
class Analysis:
    """Everything that is stated about a comparison.

    Attributes:
        rows: One per task and contender, in the comparison's order.
        overall: One per contender.
        times: Steps to target on every task and seed, by contender.
        tests: Number of tests in the family.
        resolvable: Whether so few seeds can give a significant result in such a family at all.
    """

    rows: tuple[Row, ...]
    overall: tuple[Overall, ...]
    times: dict[str, list[float]]
    tests: int
    resolvable: bool

    def row(self, task: str, name: str) -> Row:
        """The row of a contender on a task."""
        return next(row for row in self.rows if (row.task, row.name) == (task, name))


def analyse(comparison: Comparison) -> Analysis:
    """Compute every statement; the same comparison gives the same analysis."""
    reference, steps = comparison.reference, int(comparison.protocol["steps"])
    others = [name for name in comparison.names if name != reference]
    pairs = [(task, name) for task in comparison.tasks for name in others]
    differences = {
        (task, name): paired_difference(
            comparison.scores[task][name].metric, comparison.scores[task][reference].metric
        )
        for task, name in pairs
    }
    adjusted = dict(zip(pairs, holm([differences[pair].p_value for pair in pairs]), strict=True))
    seeds = len(comparison.scores[comparison.tasks[0]][reference].metric)
    times = {
        task: speeds({n: s.curves for n, s in comparison.scores[task].items()}, reference, steps)
        for task in comparison.tasks
    }
    rows = {
        (task, name): _row(comparison, task, name, times[task][name])
        for task in comparison.tasks
        for name in comparison.names
    }
    for pair in pairs:
        difference, p_adjusted = differences[pair], adjusted[pair]
        direction: Finding = "better" if difference.direction > 0 else "worse"
        rows[pair] = replace(
            rows[pair],
            difference=difference,
            p_adjusted=p_adjusted,
            detectable=minimum_detectable_effect(difference.spread, difference.compared, ALPHA / len(pairs)),
            finding=direction if p_adjusted < ALPHA else "no detectable difference",
        )
    pooled = {name: [t for task in comparison.tasks for t in times[task][name]] for name in comparison.names}
    areas = profile_score(pooled)
    overall = tuple(Overall(name, *overall_ratio(comparison, name), areas[name]) for name in comparison.names)
    resolvable = smallest_p_value(seeds) * max(1, len(pairs)) < ALPHA
    return Analysis(tuple(rows.values()), overall, pooled, len(pairs), resolvable)


def _row(comparison: Comparison, task: str, name: str, times: Sequence[float]) -> Row:
    scores = comparison.scores[task][name]
    good = np.array([m for m in scores.metric if math.isfinite(m)])
    facts = comparison.facts[task]
    return Row(
        task=task,
        name=name,
        mean=float(good.mean()) if len(good) else math.nan,
        deviation=float(good.std(ddof=1)) if len(good) > 1 else math.nan,
        divergence_rate=1 - len(good) / len(scores.metric),
        error_ratio=_ratio(_errors(comparison, task, name), facts.test_size),
        difference=None,
        p_adjusted=math.nan,
        detectable=math.nan,
        finding=None,
        steps_to_target=float(np.median(times)) if times else math.nan,
        step_us=scores.step_us,
        state_per_weight=scores.state_bytes / facts.parameters,
    )


def _errors(comparison: Comparison, task: str, name: str) -> Floats:
    """Test errors ``[2, seeds]`` of a contender and the reference, where both ended well."""
    by_name = comparison.scores[task]
    errors = 1 - np.array([by_name[name].metric, by_name[comparison.reference].metric])
    return np.asarray(errors[:, np.isfinite(errors).all(axis=0)])


def _ratio(errors: Floats, test_size: int) -> float:
    if errors.size == 0:
        return math.nan
    ours, theirs = np.maximum(errors.mean(axis=1), 0.5 / test_size)
    return float(ours / theirs)


def overall_ratio(comparison: Comparison, name: str) -> tuple[float, float, float]:
    """Geometric mean of error ratios with an interval by a bootstrap over seeds, which are drawn in pairs.

    The interval is an `expanded_interval`. NaN without two seeds on each task.
    """
    rng = np.random.default_rng(0)
    resampled = np.zeros(RESAMPLES)
    total, fewest, freedom = 0.0, sys.maxsize, 0
    for task in comparison.tasks:
        floor, errors = 0.5 / comparison.facts[task].test_size, _errors(comparison, task, name)
        seeds = errors.shape[1]
        if not seeds:
            return math.nan, math.nan, math.nan
        fewest, freedom = min(fewest, seeds), freedom + seeds - 1
        total += math.log(_ratio(errors, comparison.facts[task].test_size))
        draws = rng.integers(seeds, size=(RESAMPLES, seeds))
        means = [np.maximum(of_one[draws].mean(axis=1), floor) for of_one in errors]
        resampled += np.log(means[0] / means[1])
    mean, resampled = total / len(comparison.tasks), resampled / len(comparison.tasks)
    low, high = expanded_interval(mean, resampled, fewest, freedom)
    return math.exp(mean), math.exp(low), math.exp(high)
