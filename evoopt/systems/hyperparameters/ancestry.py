"""Who inherited whose weights: what a schedule of hyperparameters is read from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from evoopt.systems.hyperparameters.hyperparameter_space import Hyperparameters


class Ancestry:
    """Hyperparameters and weight parent of individuals that have living descendants."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[int | None, Hyperparameters]] = {}

    def add(self, number: int, alpha: int | None, genome: Hyperparameters) -> None:
        """Note an individual.

        Args:
            number: Its id.
            alpha: Id of the individual whose weights it takes, None for fresh weights.
            genome: Its hyperparameters.
        """
        self._entries[number] = (alpha, genome)

    def path(self, number: int) -> list[tuple[int, Hyperparameters]]:
        """The individual and those whose weights it goes back to, oldest first, by id."""
        found = []
        current: int | None = number
        while current is not None:
            alpha, genome = self._entries[current]
            found.append((current, genome))
            current = alpha
        return found[::-1]

    def forget_all_but(self, living: Iterable[int]) -> None:
        """Keep only these individuals and the ancestors of their weights."""
        kept = {number for one in living for number, _ in self.path(one)}
        self._entries = {number: entry for number, entry in self._entries.items() if number in kept}

    def to_json(self) -> list[list[Any]]:
        """Rows of id, alpha's id and genome."""
        return [[number, alpha, genome.to_json()] for number, (alpha, genome) in self._entries.items()]

    @classmethod
    def from_json(cls, rows: list[list[Any]]) -> Ancestry:
        """Read what `to_json` wrote."""
        ancestry = cls()
        for number, alpha, genome in rows:
            ancestry.add(number, alpha, Hyperparameters.from_json(genome))
        return ancestry
