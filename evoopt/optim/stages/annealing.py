"""Schedules in fractions of a training, so that a rule means the same in a short and in a long one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DecayShape:
    """How the learning rate goes from 1 to 0 while ``x``, the time since the decay began, goes from 0 to 1.

    Attributes:
        name: Value of the rule's ``decay_shape``.
        source: Where it was published.
        formula: The factor in plain text.
        latex: The same for typesetting.
        function: The factor at ``x``, given the rule's ``decay_power``.
        code: The same in Python.
    """

    name: str
    source: str
    formula: str
    latex: str
    function: Callable[[float, float], float]
    code: str


_FALLS = ((0.9, 0.4), (0.09, 0.6), (0.009, 0.8), (5e-4, 0.9), (5e-4, 1.0))

DECAY_SHAPES = (
    DecayShape(
        name="cosine",
        source='Loshchilov and Hutter (2017), "SGDR", without restarts',
        formula="(1+cos(pi*x))/2",
        latex=r"\frac{1+\operatorname{cos}(\pi x)}{2}",
        function=lambda x, _: 0.5 * (1.0 + math.cos(math.pi * x)),
        code="0.5 * (1.0 + math.cos(math.pi * x))",
    ),
    DecayShape(
        name="linear",
        source='Defazio et al. (2023), "Optimal Linear Decay Learning Rate Schedules"',
        formula="1-x",
        latex="1-x",
        function=lambda x, _: 1 - x,
        code="1 - x",
    ),
    DecayShape(
        name="sqrt",
        source='Haegele et al. (2024), "Scaling Laws and Compute-Optimal Training Beyond Fixed Durations"',
        formula="1-sqrt(x)",
        latex=r"1-\sqrt{x}",
        function=lambda x, _: 1 - math.sqrt(x),
        code="1 - math.sqrt(x)",
    ),
    DecayShape(
        name="power",
        source='Chen et al. (2018), "DeepLab" (poly)',
        formula="(1-x)**decay_power",
        latex="(1-x)^q",
        function=lambda x, power: (1 - x) ** power,
        code="(1 - x) ** decay_power",
    ),
    DecayShape(
        name="steps",
        source='He et al. (2016), "Deep Residual Learning", as in the example of Keras',
        formula="0.9*[x<0.4]+0.09*[x<0.6]+0.009*[x<0.8]+0.0005*[x<0.9]+0.0005*[x<1]",
        latex=r"0.9[x<0.4]+0.09[x<0.6]+0.009[x<0.8]+0.0005[x<0.9]+0.0005[x<1]",
        function=lambda x, _: sum(part * (x < at) for part, at in _FALLS),
        code=f"sum(part * (x < at) for part, at in {_FALLS})",
    ),
)

DECAY_SHAPE_BY_NAME = {shape.name: shape for shape in DECAY_SHAPES}


def fraction_factor(
    step: int,
    total_steps: int,
    *,
    warmup_fraction: float = 0.0,
    decay_shape: str = "none",
    decay_start: float = 0.0,
    decay_floor: float = 0.0,
    decay_power: float = 1.0,
) -> float:
    """Factor on the base learning rate at a step: warmup times decay.

    Args:
        step: 0-based global step.
        total_steps: Length of the training in steps; past it the factor stays ``decay_floor``.
        warmup_fraction: Fraction of the training with linear warmup.
        decay_shape: Name of a `DecayShape`, or ``"none"``.
        decay_start: Fraction of the training before the decay.
        decay_floor: Factor at the end.
        decay_power: That of the shape ``"power"``.
    """
    warmup_steps = warmup_fraction * total_steps
    factor = (step + 1) / warmup_steps if step + 1 < warmup_steps else 1.0
    if decay_shape != "none":
        x = (min(step, total_steps) / total_steps - decay_start) / (1 - decay_start)
        shape = DECAY_SHAPE_BY_NAME[decay_shape].function(min(max(x, 0.0), 1.0), decay_power)
        factor *= decay_floor + (1 - decay_floor) * shape
    return factor
