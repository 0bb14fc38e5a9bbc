"""Loci of a hyperparameter genome: what a number or a choice may be, and how it is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import NoneType
from typing import Any

import numpy as np

from evoopt.errors import EvooptError
from evoopt.optim.rule import is_number
from evoopt.training.member_hyperparameters import Value


@dataclass(frozen=True)
class NumberLocus:
    """A number between two bounds.

    An integer is kept as a float and rounded where it is used, so that steps below one add up.

    Attributes:
        name: Name of the hyperparameter.
        low: Smallest value.
        high: Largest value.
        default: Value the first generation starts with; not 0, from which a factor leads nowhere.
        log: Whether it is drawn uniformly on a logarithmic scale; mutation multiplies on either.
        integer: Whether it is rounded where it is used.

    Raises:
        EvooptError: Bounds or a default that do not fit each other.
    """

    name: str
    low: float
    high: float
    default: float
    log: bool = False
    integer: bool = False

    def __post_init__(self) -> None:
        where = f"hyperparameter {self.name!r}"
        for field in ("low", "high", "default"):
            object.__setattr__(self, field, _plain(getattr(self, field)))
        numbers = {"min": self.low, "max": self.high, "default": self.default}
        for name, value in numbers.items():
            if not is_number(value) or not math.isfinite(value):
                raise EvooptError(f"{where}: {name} must be a finite number, not {value!r}")
            if self.integer and value != int(value):
                raise EvooptError(f"{where}: {name} of an integer must be a whole number, not {value!r}")
        if not self.low <= self.default <= self.high:
            raise EvooptError(
                f"{where}: needs min <= default <= max, not {self.low:g}, {self.default:g}, {self.high:g}"
            )
        if self.log and self.low <= 0:
            raise EvooptError(f"{where}: a logarithmic scale needs min above 0, not {self.low:g}")
        if self.default == 0:
            raise EvooptError(f"{where}: mutation multiplies, so it could never leave its default 0")
        for field in ("low", "high", "default"):
            object.__setattr__(self, field, float(getattr(self, field)))

    def table(self) -> dict[str, Any]:
        """The locus as plain data, which `HyperparameterSpace.parse` reads."""
        return {
            "type": "integer" if self.integer else "float",
            "min": self.low,
            "max": self.high,
            "default": self.default,
            "scale": "log" if self.log else "linear",
        }

    def clip(self, value: float) -> float:
        """The nearest value within the bounds."""
        return min(self.high, max(self.low, value))

    def draw(self, rng: np.random.Generator) -> float:
        """Draw uniformly on the locus's scale; all integers between the bounds are equally likely there.

        What rounds to 0 is above it, as far as the bounds let it: operators multiply.
        """
        margin = 0.5 if self.integer else 0.0
        low, high = self.low - margin, self.high + margin
        if self.log:
            return self.clip(math.exp(rng.uniform(math.log(low), math.log(high))))
        value = rng.uniform(low, high)
        return self.clip(abs(value) if self.low == 0 else value)


@dataclass(frozen=True)
class CategoricalLocus:
    """One of several choices.

    Attributes:
        name: Name of the hyperparameter.
        choices: What it may be, for an objective of one's own None too; neighbours in this order count as
            near each other.
        default: Value the first generation starts with.

    Raises:
        EvooptError: No choices, a repeated one, one that is no plain value nor None, or another default.
    """

    name: str
    choices: tuple[Value, ...]
    default: Value

    def __post_init__(self) -> None:
        where = f"hyperparameter {self.name!r}"
        object.__setattr__(self, "choices", tuple(_plain(choice) for choice in self.choices))
        object.__setattr__(self, "default", _plain(self.default))
        if not self.choices or any(
            not isinstance(c, (bool, int, float, str, NoneType)) for c in self.choices
        ):
            raise EvooptError(f"{where}: choices must be a list of strings, numbers, booleans or None")
        if len({(type(c), c) for c in self.choices}) < len(self.choices):
            raise EvooptError(f"{where}: choices must differ from each other")
        if self.default not in self.choices:
            raise EvooptError(
                f"{where}: default {self.default!r} is none of its choices "
                f"{', '.join(repr(choice) for choice in self.choices)}"
            )

    def table(self) -> dict[str, Any]:
        """The locus as plain data, which `HyperparameterSpace.parse` reads."""
        return {"type": "categorical", "choices": list(self.choices), "default": self.default}

    def draw(self, rng: np.random.Generator) -> Value:
        """Draw a choice, all equally likely."""
        return self.choices[int(rng.integers(len(self.choices)))]


Locus = NumberLocus | CategoricalLocus


def _plain(value: Any) -> Any:
    """A number of numpy as Python's own, which JSON can hold."""
    return value.item() if isinstance(value, np.generic) else value
