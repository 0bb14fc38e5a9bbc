"""Genes of the stages around the sum of terms: which of them a search varies, and how.

As the other operators these have no preference of their own: with fitness that says nothing, every allowed
choice stays equally frequent and numbers stay uniform on their scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from evoopt.errors import EvooptError, unknown_name
from evoopt.optim.pipeline import CHOICES, Pipeline
from evoopt.systems.optimizer.gene_scale import decode, move, position

SWITCHED = ("clip_norm", "gradient_difference", "slow_beta", "warmup_fraction")
"""Numbers that may be absent; one that is switched on is drawn anew."""

_FIELDS = {f.name: f.default for f in fields(Pipeline)}


@dataclass(frozen=True)
class StageGenes:
    """What of a `Pipeline` a search varies.

    Attributes:
        choices: Allowed values by field, of fields of names and switches.
        ranges: Lowest and highest value by field, of numbers; those in `SWITCHED` may be absent besides.

    Raises:
        EvooptError: An unknown field, a choice that it does not have, or a range that it does not allow.
    """

    choices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Mapping[str, tuple[Any, ...]]) -> StageGenes:
        """Sort what a configuration says: two numbers are a range, names and switches are choices."""
        for name, values in given.items():
            if name not in _FIELDS:
                raise unknown_name("stage", name, _FIELDS)
            if not values:
                raise EvooptError(f"genome.stages.{name} allows nothing: name its choices or its range")
        choices = {n: tuple(v) for n, v in given.items() if n in CHOICES or isinstance(_FIELDS[n], bool)}
        return cls(choices, {n: tuple(v) for n, v in given.items() if n not in choices})

    def __post_init__(self) -> None:
        for name, values in self.choices.items():
            for value in values:
                known = CHOICES.get(name, (False, True))
                if value not in known or isinstance(value, bool) != (name not in CHOICES):
                    raise unknown_name(f"choice of genome.stages.{name}", str(value), map(str, known))
        for name, bounds in self.ranges.items():
            numbers = len(bounds) == 2 and all(isinstance(x, int | float) for x in bounds)
            if not numbers or isinstance(bounds[0], bool) or not bounds[0] <= bounds[1]:
                raise EvooptError(f"genome.stages.{name} must be [lowest, highest], not {list(bounds)}")
            for value in bounds:
                Pipeline(**{name: value})  # type: ignore[arg-type]  # raises where it is not allowed

    def random(self, rng: np.random.Generator) -> Pipeline:
        """Draw every gene: choices and switches with equal probabilities, numbers on their scale."""
        drawn = {name: values[int(rng.integers(len(values)))] for name, values in self.choices.items()}
        for name in self.ranges:
            if name not in SWITCHED or rng.random() < 0.5:
                drawn[name] = self._draw(name, rng)
        return Pipeline(**drawn)

    def mate(self, a: Pipeline, b: Pipeline, rng: np.random.Generator) -> Pipeline:
        """Take each field in which the parents differ from one of them."""
        differing = [name for name in _FIELDS if getattr(a, name) != getattr(b, name)] if a != b else []
        taken = {name: getattr(b, name) for name in differing if rng.random() < 0.5}
        return replace(a, **taken) if taken else a

    def mutate(
        self, genes: Pipeline, rng: np.random.Generator, p_flag: float, p_number: float, sigma: float
    ) -> Pipeline:
        """Exchange choices, switch and move numbers.

        Args:
            genes: Not changed.
            rng: Source of randomness.
            p_flag: Probability that a choice is exchanged for another one, or a number switched.
            p_number: Probability that a number moves.
            sigma: Standard deviation of a move, as a share of the range on its scale.
        """
        changes: dict[str, Any] = {}
        for name, values in self.choices.items():
            others = [value for value in values if value != getattr(genes, name)]
            if others and rng.random() < p_flag:
                changes[name] = others[int(rng.integers(len(others)))]
        for name, bounds in self.ranges.items():
            value = getattr(genes, name)
            absent = value == _FIELDS[name] and name in SWITCHED
            if name in SWITCHED and rng.random() < p_flag:
                changes[name] = self._draw(name, rng) if absent else _FIELDS[name]
            elif not absent and rng.random() < p_number:
                changes[name] = move(name, value, bounds, sigma, rng)
        return replace(genes, **changes) if changes else genes

    def _draw(self, name: str, rng: np.random.Generator) -> float:
        low, high = sorted(position(name, x) for x in self.ranges[name])
        return float(decode(name, float(rng.uniform(low, high)), self.ranges[name]))
