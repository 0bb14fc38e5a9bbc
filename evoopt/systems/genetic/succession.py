"""Who has children with whom, and who survives: plans over indices and fitness, whatever an individual is.

A scheme looks at fitness alone (higher is better, NaN for none). What a child is made of, and how its parents
are mated and mutated, is up to whoever carries the plan out. Esfahanian and Akhavan (2019), section 4.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from evoopt.errors import EvooptError, unknown_name
from evoopt.evolution.selection import Scores, Selection, best_first, scan


@dataclass(frozen=True)
class Child:
    """How to make a child.

    Attributes:
        parents: Indices in the population; twice the same for a copy of one.
        seed: Decides the coins of its crossover and its mutation, each by a stream of its own.
        mutated: Whether it is mutated, after crossover if any.
        complement: Take of each gene what the crossover of the same parents and seed leaves.
    """

    parents: tuple[int, int]
    seed: int
    mutated: bool = False
    complement: bool = False

    @property
    def operation(self) -> str:
        """What is done to its parents, in words."""
        mated = ["mate"] if self.parents[0] != self.parents[1] else []
        return "+".join(mated + ["mutate"] * self.mutated) or "clone"


class Scheme(Protocol):
    """How one generation follows another. It keeps no state: a checkpoint needs the population alone."""

    def breed(self, fitness: Scores, rng: np.random.Generator) -> list[Child]:
        """Plan the next children of a population with this fitness ``[n]``."""

    def survivors(self, fitness: Scores, offspring: Scores) -> list[int]:
        """The ``n`` that live on: ``i < n`` is of the population, ``n + c`` is child ``c``.

        Args:
            fitness: Of the population ``[n]``.
            offspring: Of the children that `breed` planned.
        """

    def broods(self, size: int) -> int:
        """How many times to breed until about as many children were born as a population has."""


@dataclass(frozen=True)
class SteadyState:
    """One child at a time, of two mated parents or one mutated one, takes the place of the least fit.

    Attributes:
        select: Chooses parents.
        p_mate: Probability of crossover instead of mutation.
        replace_if_better: Leave the least fit in place unless the child is better. The publication's text and
            code always replace; its prose speaks of better solutions only.
    """

    select: Selection = scan
    p_mate: float = 0.7
    replace_if_better: bool = False

    def breed(self, fitness: Scores, rng: np.random.Generator) -> list[Child]:
        """See `Scheme.breed`."""
        mated = rng.random() < self.p_mate
        parents = self.select(fitness, 2 if mated else 1, rng)
        return [Child((parents[0], parents[-1]), _seed(rng), mutated=not mated)]

    def survivors(self, fitness: Scores, offspring: Scores) -> list[int]:
        """See `Scheme.survivors`."""
        n, worst = len(fitness), int(best_first(fitness)[-1])
        better = offspring[0] > fitness[worst] or (np.isnan(fitness[worst]) and not np.isnan(offspring[0]))
        replaced = better or not self.replace_if_better
        return [n if replaced and i == worst else i for i in range(n)]

    def broods(self, size: int) -> int:
        """See `Scheme.broods`."""
        return size


@dataclass(frozen=True)
class Generational:
    """Selected parents are paired at random and replaced by two complementary children each; nobody survives.

    Attributes:
        select: Chooses as many parents as the population has members.
        p_mutate: Probability that a child is mutated.
    """

    select: Selection = scan
    p_mutate: float = 0.2

    def breed(self, fitness: Scores, rng: np.random.Generator) -> list[Child]:
        """See `Scheme.breed`."""
        n = len(fitness)
        pool = rng.permutation(self.select(fitness, n + n % 2, rng))
        children = []
        for a, b in pool.reshape(-1, 2).tolist():
            seed = _seed(rng)
            for complement in (False, True):
                children.append(Child((a, b), seed, bool(rng.random() < self.p_mutate), complement))
        return children[:n]

    def survivors(self, fitness: Scores, offspring: Scores) -> list[int]:
        """See `Scheme.survivors`."""
        return list(range(len(fitness), 2 * len(fitness)))

    def broods(self, size: int) -> int:
        """See `Scheme.broods`."""
        return 1


@dataclass(frozen=True)
class Elitist:
    """The best live on unchanged; the others are replaced by children of random pairs from a selected pool.

    Attributes:
        select: Chooses the pool.
        elites: Share of the population that lives on, at least one.
        pool: Size of the pool as a share of the population, at least two.
        p_mutate: Probability that a child is mutated.
    """

    select: Selection = scan
    elites: float = 0.1
    pool: float = 0.2
    p_mutate: float = 0.2

    def breed(self, fitness: Scores, rng: np.random.Generator) -> list[Child]:
        """See `Scheme.breed`."""
        n = len(fitness)
        pool = np.array(self.select(fitness, max(2, round(self.pool * n)), rng))
        children = []
        for _ in range(n - self._elites(n)):
            a, b = rng.choice(pool, 2, replace=False).tolist()
            children.append(Child((a, b), _seed(rng), bool(rng.random() < self.p_mutate)))
        return children

    def survivors(self, fitness: Scores, offspring: Scores) -> list[int]:
        """See `Scheme.survivors`."""
        n = len(fitness)
        elites: list[int] = best_first(fitness)[: self._elites(n)].tolist()
        return elites + list(range(n, n + len(offspring)))

    def broods(self, size: int) -> int:
        """See `Scheme.broods`."""
        return 1

    def _elites(self, size: int) -> int:
        return min(size - 1, max(1, round(self.elites * size)))


SCHEMES: dict[str, type[SteadyState] | type[Generational] | type[Elitist]] = {
    "steady_state": SteadyState,
    "generational": Generational,
    "elitist": Elitist,
}
"""Schemes by name."""


def make_scheme(name: str, **settings: Any) -> Scheme:
    """Make a scheme by name.

    Args:
        name: A key of `SCHEMES`.
        settings: Its attributes.

    Raises:
        EvooptError: Unknown name, or a probability or share outside of [0, 1].
    """
    if name not in SCHEMES:
        raise unknown_name("scheme", name, SCHEMES)
    for key, value in settings.items():
        if key not in SCHEMES[name].__dataclass_fields__:
            raise EvooptError(f"scheme {name!r} has no setting {key!r}")
        if isinstance(value, float) and not 0 <= value <= 1:
            raise EvooptError(f"{key} must lie between 0 and 1, not {value:g}")
    return SCHEMES[name](**settings)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**63))
