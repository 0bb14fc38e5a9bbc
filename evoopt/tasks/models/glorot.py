"""Glorot's normal initialisation as Keras has it: N(0, s) cut at 2 s, of variance 2 / (fan_in + fan_out)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

_CUT = 2.0
_STD_AFTER_CUT = 0.87962566103423978  # standard deviation of N(0, 1) restricted to [-2, 2]


def glorot_std(shape: Sequence[int]) -> float:
    """Standard deviation of a layer's weights.

    Args:
        shape: Of its weight: ``[out, in]``, or ``[out, in, height, width]``, whose fans count every place of
            the kernel.
    """
    out, inner, *kernel = shape
    return math.sqrt(2 / ((inner + out) * math.prod(kernel)))


def glorot_normal_(weight: Tensor) -> Tensor:
    """Draw a layer's weight in place from torch's global random state."""
    s = glorot_std(weight.shape) / _STD_AFTER_CUT
    return nn.init.trunc_normal_(weight, 0.0, s, -_CUT * s, _CUT * s)


def truncated_normal(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw ``count`` numbers of the same distribution, scaled to variance 1."""
    drawn = rng.standard_normal(count)
    while len(outside := np.flatnonzero(np.abs(drawn) > _CUT)):
        drawn[outside] = rng.standard_normal(len(outside))
    return drawn / _STD_AFTER_CUT
