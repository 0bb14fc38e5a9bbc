"""The scale on which a number gene is varied and uniform: log10, or log10(1 - x) of a decay."""

from __future__ import annotations

import math

import numpy as np

from evoopt.optim.pipeline import is_decay

_LINEAR = ("decay_start", "decay_floor", "mean_fraction", "warmup_fraction")


def position(name: str, value: float) -> float:
    """Where a gene's value lies on its scale."""
    if name.endswith("_log10") or name in _LINEAR:
        return value
    return math.log10(1.0 - value) if is_decay(name) else math.log10(max(value, 1e-300))


def decode(name: str, place: float, bounds: tuple[float, float]) -> float | int:
    """The value at a place on the scale, inside its bounds."""
    low, high = bounds
    if name.endswith("_log10") or name in _LINEAR:
        value = place
    else:
        value = 1.0 - 10**place if is_decay(name) else 10**place
    value = min(high, max(low, value))  # rounding in the scale must not leave the range
    return round(value) if name == "warmup_steps" else value


def move(
    name: str, value: float, bounds: tuple[float, float], sigma: float, rng: np.random.Generator
) -> float | int:
    """A normal step from a value, reflected at the bounds.

    Args:
        name: Of the gene.
        value: Where it starts.
        bounds: Lowest and highest value.
        sigma: Standard deviation, as a share of the range on the gene's scale.
        rng: Source of randomness.
    """
    low, high = sorted(position(name, x) for x in bounds)
    place = position(name, value) + float(rng.normal(0, sigma * (high - low)))
    return decode(name, _reflected(place, low, high), bounds)


def _reflected(x: float, low: float, high: float) -> float:
    width = high - low
    if width <= 0:
        return low
    x = (x - low) % (2 * width)
    return low + (x if x <= width else 2 * width - x)
