"""Figures of merit, which are minimised, as fitness, which parents are chosen by."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SIGMA = 10.0
"""Selection pressure of the released library (crayai 0.4.0); the paper does not print it."""


def gaussian_fitness(
    foms: Sequence[float], sigma: float = SIGMA, winsorise: float = 0.0
) -> NDArray[np.float64]:
    """Fitness ``exp(-sigma * ((fom - min) / (max - min))**2)`` of each figure of merit.

    Vose et al. (2019), with the square and the sigma of their released library. All are equally fit if the
    best equals the worst. A figure that is not finite, of a member that failed, has fitness 0 and does not
    count for min and max.

    Args:
        foms: Figures of merit ``[n]``, lower is better.
        sigma: Selection pressure.
        winsorise: This share of them, the worst, counts as the worst of the others, so that an outlier does
            not make all others equally fit; 0 for the published fitness, else at least one of three.
    """
    values = np.asarray(foms, np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(len(values))
    ranked = np.sort(values[finite])
    outliers = min(max(1, int(winsorise * len(ranked))), len(ranked) - 2) if winsorise > 0 else 0
    low, high = ranked[0], ranked[len(ranked) - 1 - max(0, outliers)]
    if high == low:
        return np.where(finite & (values <= high), 1.0, math.exp(-sigma) * finite)
    scaled = (np.clip(np.where(finite, values, high), low, high) - low) / (high - low)
    return np.where(finite, np.exp(-sigma * scaled**2), 0.0)
