"""Whether random numbers are what they should be, by exact tests that a sound sample fails once in a million.

Samples come from fixed seeds, so a test that passes always passes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
from scipy import stats

LEAST = 1e-6


def frequent(hits: Collection[bool], share: float) -> bool:
    """Whether what happens in a share of cases did so, by the exact binomial test."""
    count = sum(map(bool, hits))
    return stats.binomtest(count, len(hits), share).pvalue > LEAST


def uniform(values: Sequence[float], low: float, high: float) -> bool:
    """Whether numbers are uniform between bounds, and come near both: Kolmogorov-Smirnov, and extremes."""
    near = -math.log(LEAST) / len(values) * (high - low)
    inside = low <= min(values) < low + near and high - near < max(values) <= high
    return inside and stats.kstest(values, "uniform", (low, high - low)).pvalue > LEAST


def normal(values: Sequence[float], deviation: float) -> bool:
    """Whether numbers have mean 0 and this standard deviation, and are normal."""
    n, squares = len(values), float(np.square(values).sum()) / deviation**2
    spread = 2 * min(stats.chi2.cdf(squares, n), stats.chi2.sf(squares, n))
    return spread > LEAST and stats.kstest(np.asarray(values) / deviation, "norm").pvalue > LEAST
