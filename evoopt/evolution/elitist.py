"""Elitist generations: some survive, the best by default; the rest are children of selected parents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from deap import base

from evoopt.evolution.deap_random import DeapRandom
from evoopt.evolution.individual import Individual, RankedIndividual
from evoopt.evolution.survival import SURVIVAL, by_fitness
from evoopt.training.plan import derive_seed

G = TypeVar("G")

_VARIATION, _SELECTION = 101, 102


@dataclass(frozen=True)
class Elitism:
    """Sizes and policies of elitist generations.

    Attributes:
        population: Individuals per generation.
        elites: The best that are copied unchanged, fewer than the population.
        generations: How many there will be, which mutation may depend on.
        seed: Root of all randomness.
        replicates: Seeds per task of a new individual.
        max_replicates: Most seeds an elite is averaged over; 0 for the literal scheme, in which elites keep
            their seeds and equal genomes may take several of their places.
        survivors: Who the elites are, see `evoopt.evolution.survival.SURVIVAL`. ``"youngest"``: so that
            whoever is good by luck alone dies of age (Real 2019, "Regularized Evolution for Image Classifier
            Architecture Search", algorithm 1, with many children at a time). ``"pareto"``: the first by
            NSGA-II, who alone are parents then.
    """

    population: int
    elites: int
    generations: int
    seed: int
    replicates: int = 1
    max_replicates: int = 1
    survivors: str = "best"


class ElitistGenerations(Generic[G]):
    """Elites survive, the rest are children of tournament winners (Marfinetz 2025, section 3).

    The toolbox must hold ``random(rng)``, ``mate(a, b, rng)``, ``mutate(g, rng, progress)`` on genomes and
    ``select(individuals, k)`` on individuals.

    Attributes:
        generation: Number of the generation in `population`, from 0.
        population: Individuals of that generation; those without valid fitness are to be scored.
        created: Those created since somebody last took them from here.

    Args:
        toolbox: DEAP toolbox of the individual type.
        elitism: Sizes and policies.
        read_genome: Rebuilds a genome from its JSON.
        seeds: Genomes the first generation starts with, cut to the population size.
    """

    def __init__(
        self,
        toolbox: base.Toolbox,
        elitism: Elitism,
        read_genome: Callable[[dict[str, Any]], G],
        seeds: tuple[G, ...] = (),
    ) -> None:
        self._toolbox, self._elitism, self._read_genome = toolbox, elitism, read_genome
        self._rng = np.random.default_rng(derive_seed(elitism.seed, _VARIATION))
        self._deap_random = DeapRandom(derive_seed(elitism.seed, _SELECTION))
        self._next_id = 0
        self.generation = 0
        self.population: list[RankedIndividual[G]] = []
        for k in range(elitism.population):
            seeded = k < len(seeds)
            genome = seeds[k] if seeded else toolbox.random(self._rng)
            self.population.append(self._new(genome, "seed" if seeded else "random"))
        self.created: list[Individual[Any]] = list(self.population)

    def breed(self) -> list[RankedIndividual[G]]:
        """Replace the population, in which all have a fitness, by its elites and children; returns these."""
        elites = self._elites(SURVIVAL[self._elitism.survivors](self.population))
        parents = elites if self._elitism.survivors == "pareto" else by_fitness(self.population)
        progress = self.generation / self._elitism.generations
        self.generation += 1
        children = []
        with self._deap_random.active():
            for _ in range(self._elitism.population - len(elites)):
                a, b = self._toolbox.select(parents, 2)
                child = self._toolbox.mate(a.genome, b.genome, self._rng)
                child = self._toolbox.mutate(child, self._rng, progress)
                children.append(self._new(child, "mate+mutate", (a.id, b.id)))
        self.population = elites + children
        self.created += children
        return children

    def best(self) -> RankedIndividual[G]:
        """The fittest of the population, the older one among equals."""
        return max(self.population, key=lambda ind: (ind.fitness, -ind.id))

    def to_json(self) -> dict[str, Any]:
        """Population, random states, counters."""
        return {
            "generation": self.generation,
            "next_id": self._next_id,
            "population": [ind.to_json() for ind in self.population],
            "numpy_random": self._rng.bit_generator.state,
            "deap_random": self._deap_random.to_json(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `to_json` gave.

        Raises:
            ValueError, TypeError, LookupError: Not a state of this search.
        """
        population = [RankedIndividual.from_json(row, self._read_genome) for row in state["population"]]
        if len(population) != self._elitism.population or any(ind.replicates < 1 for ind in population):
            raise ValueError("not a population of this search")
        most = max(self._elitism.max_replicates, self._elitism.replicates)
        for ind in population:  # the setting may be lower than it was
            ind.replicates = min(ind.replicates, most)
        self.generation, self._next_id = int(state["generation"]), int(state["next_id"])
        self.population = population
        self._rng.bit_generator.state = state["numpy_random"]
        self._deap_random.from_json(state["deap_random"])

    def _elites(self, ranked: list[RankedIndividual[G]]) -> list[RankedIndividual[G]]:
        reaverage = self._elitism.max_replicates > 0
        elites: dict[str, RankedIndividual[G]] = {}
        for ind in ranked:
            if len(elites) == self._elitism.elites:
                break
            # Literally, equal genomes may fill all elite places; otherwise one place per rule.
            name = ind.genome.key if reaverage else str(ind.id)  # type: ignore[attr-defined]
            if name not in elites:
                elites[name] = ind
        for elite in elites.values():
            elite.survivor = True
            if reaverage:
                most = max(self._elitism.max_replicates, self._elitism.replicates)
                elite.replicates = min(elite.replicates + 1, most)
        return list(elites.values())

    def _new(self, genome: G, operation: str, parents: tuple[int, ...] = ()) -> RankedIndividual[G]:
        self._next_id += 1
        return RankedIndividual(
            self._next_id - 1, genome, self.generation, parents, operation, self._elitism.replicates
        )
