"""Who survives a generation: the order in which its individuals are taken as elites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from deap import base, tools
from deap.tools import emo

from evoopt.evolution.individual import RankedIndividual

Ranked = TypeVar("Ranked", bound=RankedIndividual[Any])


class Objectives(base.Fitness):  # type: ignore[misc]
    """Score, higher is better, and two costs, lower is better."""

    weights = (1.0, -1.0, -1.0)


@dataclass
class _Candidate:
    individual: Any
    fitness: Objectives


def by_fitness(population: Sequence[Ranked]) -> list[Ranked]:
    """From best to worst, the older one first among equals."""
    return sorted(population, key=lambda ind: (ind.fitness, -ind.id), reverse=True)


def by_age(population: Sequence[Ranked]) -> list[Ranked]:
    """From the youngest on."""
    return sorted(population, key=lambda ind: -ind.id)


def crowded(population: Sequence[Ranked]) -> list[Ranked]:
    """By NSGA-II (Deb 2002): front after front, and in each from lonely to crowded.

    Individuals with a training that gave no score come behind all others, by fitness. Sets
    `RankedIndividual.crowded`.
    """
    fronts = _fronts(population)
    for number, front in enumerate(fronts):
        emo.assignCrowdingDist(front)
        for one in front:
            one.individual.crowded = (-number, one.fitness.crowding_dist)
    unfinished = [ind for ind in by_fitness(population) if ind.fitness.values[0]]
    for place, ind in enumerate(unfinished, len(fronts)):
        ind.crowded = (-place, 0.0)
    return sorted(population, key=lambda ind: (ind.crowded, ind.fitness, -ind.id), reverse=True)


def front_of(population: Sequence[Ranked]) -> list[Ranked]:
    """Those of which nobody is better in one objective and at least as good in the others, best first."""
    return by_fitness([one.individual for one in _fronts(population)[0]] if population else [])


def _fronts(population: Sequence[Ranked]) -> list[list[_Candidate]]:
    finished = [ind for ind in population if not ind.fitness.values[0]]
    candidates = [_Candidate(ind, Objectives((ind.fitness.score, *ind.costs))) for ind in finished]
    return tools.sortNondominated(candidates, len(candidates)) or [[]]


SURVIVAL: dict[str, Callable[[Sequence[Any]], list[Any]]] = {
    "best": by_fitness,
    "youngest": by_age,
    "pareto": crowded,
}
"""Orders by the name that a space file gives them."""
