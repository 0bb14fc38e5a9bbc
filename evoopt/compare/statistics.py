"""Paired statistics of two contenders that were trained from the same seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALPHA, POWER = 0.05, 0.8
CONFIDENCE = 1 - ALPHA
RESAMPLES = 9999
FEW = 8
"""Below so many values their resamples are too few to have the ends of an interval among them."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PairedDifference:
    """How much higher one contender scores than another, seed by seed.

    Attributes:
        pairs: Number of seeds.
        compared: Seeds on which both trainings ended well; mean, interval and spread rest on these.
        mean: Mean difference; NaN without any such seed.
        low: Lower end of the 95% interval of the mean; NaN with fewer than two such seeds.
        high: Upper end.
        spread: Standard deviation of the differences; NaN with fewer than two such seeds.
        p_value: Two-sided Wilcoxon signed-rank test over all seeds, in which a training that did not end
            well ranks below every one that did; 1 if nothing differs.
        direction: Sign of that test's rank sum: 1 if the first contender ranks higher, -1 if lower, 0 if
            neither.
    """

    pairs: int
    compared: int
    mean: float
    low: float
    high: float
    spread: float
    p_value: float
    direction: int


def paired_difference(a: Sequence[float], b: Sequence[float]) -> PairedDifference:
    """Compare scores of ``a`` with those of ``b``; NaN stands for a training that did not end well.

    Args:
        a: Scores by seed, higher is better.
        b: Scores of the other contender from the same seeds, in the same order.

    Raises:
        ValueError: Different numbers of seeds, or none.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) == 0:
        raise ValueError(f"paired scores need the same seeds, found shapes {x.shape} and {y.shape}")
    good = np.isfinite(x) & np.isfinite(y)
    differences = (x - y)[good]
    low, high = mean_interval(differences)
    # Scores are numbers of float32, so that the same difference of examples comes out a little differently.
    largest = max(float(np.abs(scores[good]).max(initial=0.0)) for scores in (x, y))
    rounding = 4 * float(np.finfo(np.float32).eps) * largest
    p_value, direction = signed_rank_test(_with_failures(x, y, good), rounding)
    return PairedDifference(
        pairs=len(x),
        compared=len(differences),
        mean=float(differences.mean()) if len(differences) else math.nan,
        low=low,
        high=high,
        spread=float(differences.std(ddof=1)) if len(differences) > 1 else math.nan,
        p_value=p_value,
        direction=direction,
    )


def mean_interval(values: Floats) -> tuple[float, float]:
    """Interval of a mean that keeps its promise with few values: by bootstrap, below `FEW` Student's.

    A percentile interval of ten values covers about 90% where it claims 95%, because resamples spread less
    than samples do and a normal quantile is too small. `expanded` puts that right.

    Returns:
        Lower and upper end; NaN with fewer than two values.
    """
    from scipy import stats  # by those alone who compute, as below: its import takes a second

    n = len(values)
    if n < 2:
        return math.nan, math.nan
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    if n < FEW:
        margin = students_margin(float(values.std(ddof=1)), n)
        return float(values.mean() - margin), float(values.mean() + margin)
    interval = stats.bootstrap(
        (values,), np.mean, confidence_level=expanded(n, n - 1)[1], n_resamples=RESAMPLES,
        method="percentile", random_state=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return float(interval.low), float(interval.high)


def students_margin(spread: float, n: int) -> float:
    """Half of Student's interval of a mean of ``n`` values with this standard deviation."""
    from scipy import stats

    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * spread / math.sqrt(n)


def expanded(n: int, freedom: int) -> tuple[float, float]:
    """How far a bootstrap over ``n`` seeds has to reach so that on normal data its interval is Student's t.

    Hesterberg (2015), "What Teachers Should Know About the Bootstrap", section 5.3, the expanded percentile
    interval.

    Args:
        n: Values in a resample.
        freedom: Degrees of freedom.

    Returns:
        In standard deviations of the resamples, and as the level of their percentiles.
    """
    from scipy import stats

    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(n / (n - 1))
    return reach, float(1 - 2 * stats.norm.sf(reach))


def expanded_interval(mean: float, resampled: Floats, fewest: int, freedom: int) -> tuple[float, float]:
    """A 95 % interval from resampled means, as wide as Student's t would have it.

    Args:
        mean: Of the sample.
        resampled: Means ``[RESAMPLES]`` of resamples.
        fewest: Values in the smallest resample that a mean is of; below `FEW` the interval is the normal one
            of the resamples' spread, below two there is none.
        freedom: Degrees of freedom.
    """
    if fewest < 2:
        return math.nan, math.nan
    reach, level = expanded(fewest, freedom)
    if fewest < FEW:
        margin = reach * float(resampled.std())
        return mean - margin, mean + margin
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def signed_rank_test(differences: Floats, rounding: float = 0.0) -> tuple[float, int]:
    """Wilcoxon's signed-rank test; returns the two-sided p-value and the sign of the rank sum.

    Differences of zero say nothing and are left out; if there are no others, p is 1. The p-value is exact,
    ties included, which accuracies on a few hundred test examples are full of, and which make
    ``scipy.stats.wilcoxon`` approximate or slow.

    Args:
        differences: ``[n]``.
        rounding: Sizes that are no further apart are equal.
    """
    from scipy import stats

    moved = differences[np.abs(differences) > rounding]
    if len(moved) == 0:
        return 1.0, 0
    order = np.argsort(np.abs(moved))
    sizes = np.zeros(len(moved))
    sizes[order[1:]] = np.cumsum(np.diff(np.abs(moved)[order]) > rounding)
    ranks = np.rint(2 * stats.rankdata(sizes)).astype(int)  # doubled, since ties share halves
    chances = np.zeros(int(ranks.sum()) + 1)  # of each sum of positive ranks, signs being coin tosses
    chances[0] = 1.0
    for rank in ranks:
        chances = 0.5 * (chances + np.concatenate([np.zeros(rank), chances[:-rank]]))
    positive = int(ranks[moved > 0].sum())
    tail = min(chances[: positive + 1].sum(), chances[positive:].sum())
    return min(1.0, 2 * float(tail)), int(np.sign(2 * positive - ranks.sum()))


def smallest_p_value(pairs: int) -> float:
    """The smallest p-value that the signed-rank test can give for so many pairs."""
    return min(1.0, 2.0 ** (1 - pairs))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values of a family of tests by Holm's step-down method (Holm 1979).

    Rejecting where the adjusted value is below ``ALPHA`` keeps the chance of any false rejection in the
    family below it, however the tests depend on each other.
    """
    count = len(p_values)
    adjusted = [1.0] * count
    largest = 0.0
    for rank, k in enumerate(sorted(range(count), key=lambda k: p_values[k])):
        largest = max(largest, min(1.0, (count - rank) * p_values[k]))
        adjusted[k] = largest
    return adjusted


def minimum_detectable_effect(spread: float, pairs: int, alpha: float = ALPHA) -> float:
    """Smallest true mean difference that would be found with probability `POWER`.

    Power of the two-sided paired t-test, from the noncentral t distribution, as an approximation to that of
    the signed-rank test.

    Args:
        spread: Standard deviation of the paired differences.
        pairs: Number of pairs.
        alpha: Level of a single test; in a family of m tests, the level divided by m.

    Returns:
        The effect in the unit of ``spread``; infinite if the signed-rank test cannot reach ``alpha`` with so
        few pairs, NaN if the spread is not known.
    """
    from scipy import optimize, stats

    if not math.isfinite(spread) or pairs < 2:
        return math.nan
    if smallest_p_value(pairs) > alpha:
        return math.inf
    critical = float(stats.t.ppf(1 - alpha / 2, pairs - 1))

    def missing(noncentrality: float) -> float:
        beyond = stats.nct.sf(critical, pairs - 1, noncentrality)
        return float(beyond) - POWER

    return float(optimize.brentq(missing, 0.0, 10 * critical + 20)) * spread / math.sqrt(pairs)


def _with_failures(x: Floats, y: Floats, good: NDArray[np.bool_]) -> Floats:
    # A finite number beyond every real difference, since ranks are all the test looks at.
    beyond = 1.0 + float(np.abs((x - y)[good]).max(initial=0.0))
    differences = np.where(good, x - y, 0.0)
    differences[np.isfinite(x) & ~np.isfinite(y)] = beyond
    differences[~np.isfinite(x) & np.isfinite(y)] = -beyond
    return differences
