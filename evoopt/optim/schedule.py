"""Learning-rate schedule of a rule: warmup times cosine, as the published search used it."""

from __future__ import annotations

import math


def schedule_factor(step: int, total_steps: int | None, warmup_steps: int, cosine: bool) -> float:
    """Factor on the base learning rate at a step.

    The cosine runs over the whole training and multiplies the warmup, it does not start after it
    (Marfinetz 2025, published notebook). Past ``total_steps`` the cosine stays at its end value 0.

    Args:
        step: 0-based global step.
        total_steps: Length of the training in steps; only read when ``cosine`` is set.
        warmup_steps: Steps of linear warmup, 0 for none.
        cosine: Whether to decay along half a cosine.

    Returns:
        The factor, in [0, 1].

    Raises:
        ValueError: ``cosine`` without ``total_steps``.
    """
    factor = 1.0
    if step < warmup_steps:
        factor *= (step + 1) / warmup_steps
    if cosine:
        if total_steps is None:
            raise ValueError("a cosine schedule needs total_steps, the length of the training in steps")
        factor *= 0.5 * (1.0 + math.cos(math.pi * min(step, total_steps) / total_steps))
    return factor
