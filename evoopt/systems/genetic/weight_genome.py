"""What a run keeps in its books about a network whose weights evolve; the weights themselves are tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evoopt.errors import EvooptError


@dataclass(frozen=True)
class WeightGenome:
    """One network.

    Attributes:
        fitness: What it scored, higher is better; None if its outputs were not finite.
    """

    fitness: float | None = None

    @property
    def key(self) -> str:
        """Networks have no hash: no two have the same weights."""
        return ""

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        return {"version": 1, "fitness": self.fitness}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> WeightGenome:
        """Read what `to_json` wrote.

        Raises:
            EvooptError: Something else.
        """
        try:
            return cls(data["fitness"])
        except (KeyError, TypeError):
            raise EvooptError("not the record of a network") from None
