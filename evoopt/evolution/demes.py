"""Demes: parts of a population that breed among themselves, with the best migrating now and then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from deap import tools

T = TypeVar("T")

Topology = Literal["ring", "grid"]
"""``ring``: migrants go to the next deme; ``grid``: on a torus, by turns to the deme in the east and in the
south."""


@dataclass(frozen=True)
class Demes:
    """Islands of equal size.

    Attributes:
        count: How many.
        topology: Who is whose neighbour.
        interval: Generations between migrations, the first of which is in generation 0.
        migrants: Number of the best of a deme that replace the worst of its neighbour.
    """

    count: int = 1
    topology: Topology = "ring"
    interval: int = 5
    migrants: int = 1

    def pools(self, population: Sequence[T]) -> list[list[T]]:
        """The demes of a population: successive parts of equal size."""
        size = len(population) // self.count
        return [list(population[k * size : (k + 1) * size]) for k in range(self.count)]

    def migrate(self, pools: list[list[T]], generation: int) -> None:
        """Copy the best of each pool over the worst of its neighbour, in place, if it is the time.

        Args:
            pools: Members have an attribute ``fitness``, higher is better.
            generation: Number of the generation, from 0.
        """
        if self.count > 1 and generation % self.interval == 0:
            to = self._neighbours(generation // self.interval)
            tools.migRing(pools, self.migrants, tools.selBest, tools.selWorst, migarray=to)

    def _neighbours(self, turn: int) -> list[int]:
        rows = 1
        if self.topology == "grid":
            rows = max(n for n in range(1, int(self.count**0.5) + 1) if self.count % n == 0)
        columns = self.count // rows
        places = [divmod(k, columns) for k in range(self.count)]
        if turn % 2 and rows > 1:
            return [(row + 1) % rows * columns + column for row, column in places]
        return [row * columns + (column + 1) % columns for row, column in places]
