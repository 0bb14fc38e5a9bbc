"""What is tuned about a contender, and on which scale."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from evoopt.errors import EvooptError, unknown_name
from evoopt.optim.pipeline import is_decay
from evoopt.optim.rule import UpdateRule

LR_REACH = math.sqrt(10)
"""How far, as a factor, a learning rate is tuned from the best of the grid, whose rates are powers of ten."""

RANGES: dict[str, tuple[float, float]] = {
    "weight_decay": (1e-4, 0.3),
    "beta1": (0.8, 0.98),
    "beta2": (0.9, 0.9995),
    "beta3": (0.8, 0.98),
    "momentum": (0.8, 0.98),
    "alpha": (0.9, 0.9995),
    "slow_beta": (0.98, 0.9999),
    "others_lr": (0.1, 10.0),
    "ema_decay": (0.9, 0.999),
}
"""Default range of what is tuned besides the learning rate; decays are searched on the scale of
log(1 - decay)."""

DECLARED: dict[str, dict[str, tuple[float, float]]] = {
    "sgd": {"weight_decay": RANGES["weight_decay"], "beta1": RANGES["beta1"]},
    "adam": {"beta1": RANGES["beta1"], "beta2": RANGES["beta2"]},
    "adamw": {name: RANGES[name] for name in ("weight_decay", "beta1", "beta2")},
    "rmsprop": {"weight_decay": RANGES["weight_decay"], "beta2": RANGES["beta2"]},
    "lion": {"weight_decay": RANGES["weight_decay"], "beta1": (0.9, 0.999), "beta3": RANGES["beta3"]},
    "marfinetz2025": {name: RANGES[name] for name in ("weight_decay", "beta1", "beta2")},
}
"""Tuning spaces of the presets, besides the learning rate. Lion's ``beta1`` is the decay of its moment."""


@dataclass(frozen=True)
class TuningSpace:
    """A contender's own learning rate, where the grid begins, and the ranges of all else.

    Attributes:
        lr: The grid begins at the power of ten nearest to it, > 0.
        ranges: Lowest and highest value by name, both inside the scale (> 0; decays < 1).

    Raises:
        EvooptError: A range upside down or outside its scale.
    """

    lr: float
    ranges: Mapping[str, tuple[float, float]]

    def __post_init__(self) -> None:
        for name, (low, high) in self.ranges.items():
            top = 1.0 if is_decay(name) else math.inf
            if not 0 < low <= high < top:
                raise EvooptError(
                    f"tuning range of {name!r} must rise within (0, {top:g}), not [{low:g}, {high:g}]"
                )
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise EvooptError(f"a tuning space needs a positive learning rate to start from, not {self.lr!r}")

    def point(self, unit: Mapping[str, float]) -> dict[str, float]:
        """Values at positions in [0, 1] along the ranges."""
        return {name: _between(name, *self.ranges[name], position) for name, position in unit.items()}

    def position(self, name: str, value: float | None) -> float:
        """Where along its range a value lies, at an end if it is outside; the middle for None."""
        low, high = self.ranges[name]
        if value is None or low == high:
            return 0.5
        if is_decay(name):
            low, high, value = 1 - low, 1 - high, max(1 - value, 0.0)
        along = math.log(max(value, 1e-300) / low) / math.log(high / low)
        return min(1.0, max(0.0, along))


@dataclass(frozen=True)
class Setting:
    """One way to set a contender up: what a tuning trial tries.

    Attributes:
        schedule: Name of a schedule, see `evoopt.compare.contender`.
        values: Learning rate and whatever else is changed, by name.
    """

    schedule: str
    values: tuple[tuple[str, float], ...]

    @property
    def lr(self) -> float:
        """Base learning rate."""
        return dict(self.values)["lr"]

    def describe(self) -> str:
        """In a few words, for people."""
        return ", ".join(
            [self.schedule.replace("_", "+"), *(f"{name} {value:.3g}" for name, value in self.values)]
        )


def rule_space(rule: UpdateRule) -> TuningSpace:
    """The default space of a rule: weight decay, decays of the averages it keeps, the rate of no matrices.

    A range is widened where the rule's own value lies outside it.
    """
    names = ["weight_decay"]
    names += ["beta1"] if rule.reads_beta1 else []
    names += ["beta2"] if rule.reads_beta2 else []
    names += ["beta3"] if rule.uses("m_prev") else []
    names += ["slow_beta"] if rule.slow_beta is not None else []
    names += ["others_lr"] if rule.tells_matrices_apart else []
    names += ["ema_decay"] if rule.readout == "ema" else []
    return TuningSpace(rule.lr, {name: range_around(name, getattr(rule, name)) for name in names})


def range_around(name: str, value: object) -> tuple[float, float]:
    """The default range of a hyperparameter, widened where a positive value of its owner lies outside."""
    low, high = RANGES[name]
    return (
        (min(low, value), max(high, value)) if isinstance(value, (int, float)) and value > 0 else (low, high)
    )


def declared_space(
    what: str, declared: Mapping[str, tuple[float, float]], lr: float, known: set[str]
) -> TuningSpace:
    """A space that somebody wrote down.

    Args:
        what: Whose it is, for messages.
        declared: Ranges by name; ``lr`` may be among them, and then the grid begins at its geometric mean.
        lr: Where it begins otherwise.
        known: Names that may be tuned.

    Raises:
        EvooptError: An unknown name or a bad range.
    """
    ranges = dict(declared)
    for name in ranges:
        if name != "lr" and name not in known:
            raise unknown_name(f"entry in the tuning space of {what}:", name, {"lr", *known})
    if "lr" in ranges:
        low, high = ranges.pop("lr")
        lr = math.sqrt(low * high)
    return TuningSpace(lr, ranges)


def _between(name: str, low: float, high: float, position: float) -> float:
    if is_decay(name):
        return float(1 - (1 - low) * ((1 - high) / (1 - low)) ** position)
    return float(low * (high / low) ** position)
