"""The individuals of a run over hyperparameters: who lives, who descends from whom, who was the best ever."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evoopt.errors import EvooptError, NoScoreError
from evoopt.evolution.demes import Demes
from evoopt.evolution.individual import Individual
from evoopt.systems.hyperparameters.breeding import SCHEMES, Breeder, Parent
from evoopt.systems.hyperparameters.config import RecombinationSection
from evoopt.systems.hyperparameters.hyperparameter_space import Hyperparameters, HyperparameterSpace
from evoopt.training.plan import derive_seed

_FIRST, _BREEDING = 401, 402

Member = Individual[Hyperparameters]

Failure = tuple[str, str]
"""What happened to members without a figure of merit, and what to do."""

DIVERGED: Failure = ("have diverged", "narrow the space, the bounds of lr for one")


@dataclass(frozen=True)
class Best:
    """The best individual that ever was.

    Attributes:
        id: Its number.
        position: Its place in its generation.
        generation: Its generation.
        fom: Its figure of merit.
        genome: Its hyperparameters.
    """

    id: int
    position: int
    generation: int
    fom: float
    genome: Hyperparameters

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        return {**vars(self), "genome": self.genome.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Best:
        """Read what `to_json` wrote."""
        return cls(**{**data, "genome": Hyperparameters.from_json(data["genome"])})


class HyperparameterGenerations:
    """Generations that replace each other, bred in demes, with the best ever kept aside.

    All randomness follows from (seed, generation), so the state needs no random states.

    Attributes:
        generation: Number of the current generation, from 0.
        population: Its individuals; the parents of each are a, b and alpha.
        best: The best ever, None before the first score.
        created: Those created since somebody last took them from here.

    Args:
        breeder: Makes children.
        size: Individuals per generation.
        seed: Root of all randomness.
        demes: Division of the population.
        inherit: Whether children go on with the weights of alpha.
    """

    def __init__(
        self, breeder: Breeder, size: int, seed: int, demes: Demes | None = None, inherit: bool = True
    ) -> None:
        self._breeder, self._seed, self._demes, self._inherit = breeder, seed, demes or Demes(), inherit
        self.generation = 0
        self.best: Best | None = None
        self._foms: list[float] = []
        self._ancestry: dict[int, tuple[int | None, Hyperparameters]] = {}  # by id: alpha and genome
        genomes = breeder.first(size, self._rng(_FIRST))
        self.population: list[Member] = [
            Individual(k, genome, operation="initial" if k else "default") for k, genome in enumerate(genomes)
        ]
        self.created: list[Individual[Any]] = list(self.population)
        self._litters = list(range(size))
        self._next_id = size
        self._note(self.population)

    @classmethod
    def of(
        cls, section: RecombinationSection, space: HyperparameterSpace, breeder: Breeder | None = None
    ) -> HyperparameterGenerations:
        """Those that the settings describe.

        Args:
            section: Sizes, scheme and demes.
            space: Hyperparameters.
            breeder: A scheme of one's own.

        Raises:
            EvooptError: Settings that do not fit each other.
        """
        section.check()
        demes = Demes(section.demes, section.topology, section.migration_interval, section.migrants)
        if section.scheme == "random":
            demes = Demes()  # migrants would be selected
        breeder = breeder or SCHEMES[section.scheme](section, space)
        return cls(breeder, section.population, section.seed, demes, section.inherits)

    def score(self, foms: Sequence[float], failure: Failure = DIVERGED) -> bool:
        """Take the figures of merit of the current generation.

        Args:
            foms: In order, lower is better; not finite for whoever failed.
            failure: What happened to all of them, if they all failed.

        Returns:
            Whether one of them is the best ever.

        Raises:
            NoScoreError: All failed, and there are no weights to go on with, or nobody ever did better.
        """
        self._foms = [fom if math.isfinite(fom) else math.nan for fom in foms]
        sound = [k for k, fom in enumerate(self._foms) if not math.isnan(fom)]
        if not sound:
            if self._inherit or self.best is None:
                what, advice = failure
                raise NoScoreError(
                    f"all {len(foms)} members {what} in generation {self.generation}: {advice}"
                )
            return False
        k = min(sound, key=lambda k: (self._foms[k], k))
        if self.best is not None and self._foms[k] >= self.best.fom:
            return False
        ind = self.population[k]
        self.best = Best(ind.id, k, self.generation, self._foms[k], ind.genome)
        return True

    def breed(self) -> list[int]:
        """Replace the generation by its children.

        Returns:
            For each child, the position of the individual whose weights it takes.
        """
        if len(self._foms) != len(self.population):
            raise EvooptError("this run ended with a version that did not keep what it needs to go on")
        members = [
            Parent(k, ind.genome, fom, litter)
            for k, (ind, fom, litter) in enumerate(
                zip(self.population, self._foms, self._litters, strict=True)
            )
        ]
        pools = self._demes.pools(members)
        self._demes.migrate(pools, self.generation)
        rng = self._rng(_BREEDING, self.generation)
        fittest = max(members, key=lambda member: member.fitness)
        births = []
        for pool in pools:
            if all(math.isnan(parent.fom) for parent in pool):
                pool[0] = fittest  # a deme that died out is settled anew
            births += self._breeder.breed(pool, len(pool), rng)
        ids = [ind.id for ind in self.population]
        self.generation += 1
        children: list[Member] = []
        litters: list[int] = []
        for birth in births:
            number = self._next_id + len(children)
            litters.append(litters[-1] if birth.sibling else number)
            parents = tuple(ids[p] for p in birth.parents)
            children.append(Individual(number, birth.genome, self.generation, parents, birth.operations))
        self.population, self._litters = children, litters
        self.created += children
        self._next_id += len(children)
        self._foms = []
        self._note(children)
        return [birth.parents[-1] if birth.parents else 0 for birth in births]

    @property
    def scored(self) -> int:
        """Number of generations that have been scored."""
        return self.generation + bool(self._foms)

    def lineage(self, number: int) -> list[tuple[int, Hyperparameters]]:
        """Ids and hyperparameters of all whose weights a living individual or the best has, oldest first."""
        lineage: list[tuple[int, Hyperparameters]] = []
        current: int | None = number
        while current is not None:
            alpha, genome = self._ancestry[current]
            lineage.append((current, genome))
            current = alpha
        return lineage[::-1]

    def record(self) -> dict[str, Any]:
        """Statistics of the current generation, which has been scored, as JSON; None for what failed."""
        finite = [fom for fom in self._foms if not math.isnan(fom)]
        best = min(range(len(self._foms)), key=lambda k: (math.isnan(self._foms[k]), self._foms[k], k))
        return {
            "generation": self.generation,
            "best": min(finite, default=None),
            "median": float(np.median(finite)) if finite else None,
            "mean": float(np.mean(finite)) if finite else None,
            "best_id": self.population[best].id,
            "best_ever": None if self.best is None else self.best.fom,
            "failed": len(self._foms) - len(finite),
            "ids": [ind.id for ind in self.population],
            "fom": [None if math.isnan(fom) else fom for fom in self._foms],
            "hyperparameters": [ind.genome.values() for ind in self.population],
            "lineage": [[*ind.parents, ind.operation] for ind in self.population],
        }

    def to_json(self) -> dict[str, Any]:
        """Everything needed to go on, as JSON."""
        return {
            "generation": self.generation,
            "next_id": self._next_id,
            "litters": self._litters,
            "population": [ind.to_json() for ind in self.population],
            "foms": [None if math.isnan(fom) else fom for fom in self._foms],
            "best": None if self.best is None else self.best.to_json(),
            "ancestry": [[k, alpha, genome.to_json()] for k, (alpha, genome) in self._ancestry.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `to_json` gave."""
        self.generation, self._next_id = state["generation"], state["next_id"]
        self._litters = list(state["litters"])
        # Runs of earlier versions have kept none: one that a limit ended cannot go on.
        self._foms = [math.nan if fom is None else float(fom) for fom in state.get("foms", [])]
        self.population = [
            Individual.from_json(row, Hyperparameters.from_json) for row in state["population"]
        ]
        self.best = None if state["best"] is None else Best.from_json(state["best"])
        self._ancestry = {
            number: (alpha, Hyperparameters.from_json(genome)) for number, alpha, genome in state["ancestry"]
        }

    def _note(self, created: Sequence[Member]) -> None:
        for ind in created:
            alpha = ind.parents[-1] if ind.parents and self._inherit else None
            self._ancestry[ind.id] = (alpha, ind.genome)
        living = [ind.id for ind in self.population] + ([] if self.best is None else [self.best.id])
        kept = {number for one in living for number, _ in self.lineage(one)}
        self._ancestry = {number: entry for number, entry in self._ancestry.items() if number in kept}

    def _rng(self, *path: int) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self._seed, *path))
