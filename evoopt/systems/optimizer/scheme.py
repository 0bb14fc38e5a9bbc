"""The elitist generational scheme as ask and tell, so that a checkpoint is just its state."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from deap import base

from evoopt.evolution.individual import Individual
from evoopt.evolution.selection import DeapRandom
from evoopt.systems.optimizer.config import SearchSection
from evoopt.training.plan import derive_seed

G = TypeVar("G")

_VARIATION, _SELECTION = 101, 102


class Scheme(Protocol[G]):
    """How generations follow each other."""

    generation: int
    population: list[Individual[G]]

    def tell(self) -> list[Individual[G]]:
        """Take a generation whose individuals all have a fitness, make the next; return those created."""

    def state(self) -> dict[str, Any]:
        """Everything needed to go on, as JSON."""


class ElitistScheme(Generic[G]):
    """Elites survive, the rest are children of tournament winners (Marfinetz 2025, section 3).

    The toolbox must hold ``random(rng)``, ``mate(a, b, rng)``, ``mutate(g, rng, progress)`` on genomes and
    ``select(individuals, k)`` on individuals.

    Attributes:
        generation: Number of the generation in `population`, from 0.
        population: Individuals of that generation; those without valid fitness are to be scored.

    Args:
        toolbox: DEAP toolbox of the individual type.
        search: Sizes and policies.
        replicates: Seeds per task of a new individual.
        seeds: Genomes the first generation starts with, cut to the population size.
        begin: Whether to make the first generation; not needed before `restore`.
    """

    def __init__(
        self,
        toolbox: base.Toolbox,
        search: SearchSection,
        replicates: int,
        seeds: tuple[G, ...] = (),
        begin: bool = True,
    ) -> None:
        self._toolbox = toolbox
        self._search = search
        self._replicates = replicates
        self._rng = np.random.default_rng(derive_seed(search.seed, _VARIATION))
        self._deap_random = DeapRandom(derive_seed(search.seed, _SELECTION))
        self._next_id = 0
        self.generation = 0
        self.population: list[Individual[G]] = []
        for k in range(search.population if begin else 0):
            seeded = k < len(seeds)
            genome = seeds[k] if seeded else toolbox.random(self._rng)
            self.population.append(self._new(genome, "seed" if seeded else "random"))

    def tell(self) -> list[Individual[G]]:
        """Replace the population by its elites and children; returns the children."""
        ranked = sorted(self.population, key=lambda ind: (ind.fitness, -ind.id), reverse=True)
        elites = self._elites(ranked)
        self.generation += 1
        progress = self.generation / self._search.generations
        children = []
        with self._deap_random.active():
            for _ in range(self._search.population - len(elites)):
                a, b = self._toolbox.select(ranked, 2)
                child = self._toolbox.mate(a.genome, b.genome, self._rng)
                child = self._toolbox.mutate(child, self._rng, progress)
                children.append(self._new(child, "mate+mutate", (a.id, b.id)))
        self.population = elites + children
        return children

    def _elites(self, ranked: list[Individual[G]]) -> list[Individual[G]]:
        reaverage = self._search.elite_policy == "reaverage"
        elites: dict[str, Individual[G]] = {}
        for ind in ranked:
            # Literally, equal genomes may fill all elite places; otherwise one place per rule.
            name = ind.genome.key if reaverage else str(ind.id)  # type: ignore[attr-defined]
            if len(elites) < self._search.elites and name not in elites:
                elites[name] = ind
        for elite in elites.values():
            elite.survivor = True
            if reaverage:
                elite.replicates = min(
                    elite.replicates + 1, max(self._search.max_replicates, self._replicates)
                )
        return list(elites.values())

    def _new(self, genome: G, operation: str, parents: tuple[int, ...] = ()) -> Individual[G]:
        self._next_id += 1
        return Individual(
            self._next_id - 1,
            genome,
            born=self.generation,
            parents=parents,
            operation=operation,
            replicates=self._replicates,
        )

    def state(self) -> dict[str, Any]:
        """The checkpoint: population by id, random states, counters."""
        return {
            "generation": self.generation,
            "next_id": self._next_id,
            "population": [ind.to_json() for ind in self.population],
            "numpy_random": self._rng.bit_generator.state,
            "deap_random": self._deap_random.to_json(),
        }

    def restore(self, state: dict[str, Any], population: list[Individual[G]]) -> None:
        """Go on from `state`.

        Args:
            state: What `state` returned.
            population: The individuals of ``state["population"]``, in that order.

        Raises:
            ValueError, TypeError, LookupError: Not a state of this search.
        """
        most = max(self._search.max_replicates, self._replicates)
        if len(population) != self._search.population or not all(
            0 < ind.replicates <= most for ind in population
        ):
            raise ValueError("not a population of this search")
        self.generation, self._next_id = int(state["generation"]), int(state["next_id"])
        self.population = population
        self._rng.bit_generator.state = state["numpy_random"]
        self._deap_random.from_json(state["deap_random"])
