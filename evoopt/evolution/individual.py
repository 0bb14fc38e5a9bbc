"""A member of the population: a genome with DEAP's fitness and its ancestry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from deap import base

G = TypeVar("G")


class Fitness(base.Fitness):  # type: ignore[misc]
    """Rate of trainings without a score, score, loss; compared in this order.

    The signs live here and nowhere else: fewer diverged, failed or stopped trainings first, then the
    higher score, then, among equal scores, the lower validation loss.
    """

    weights = (-1.0, 1.0, -1.0)

    @property
    def score(self) -> float:
        """The score that people read, higher is better."""
        return float(self.values[1])


@dataclass
class Individual(Generic[G]):
    """One individual.

    Attributes:
        id: Number in order of creation, unique in a run.
        genome: What it is made of.
        born: Generation it was created for.
        parents: Ids of its parents, empty for the first generation.
        operation: How it came to be: ``"seed"``, ``"random"`` or ``"mate+mutate"``.
        replicates: Number of seeds per task its fitness is averaged over.
        survivor: Whether it was copied unchanged from the generation before.
        fitness: DEAP's fitness; invalid until scored.
    """

    id: int
    genome: G
    born: int = 0
    parents: tuple[int, ...] = ()
    operation: str = "random"
    replicates: int = 1
    survivor: bool = False
    fitness: Fitness = field(default_factory=Fitness)

    def to_json(self) -> dict[str, Any]:
        """Everything but the genome, which the run stores once per individual."""
        return {
            "id": self.id,
            "replicates": self.replicates,
            "survivor": self.survivor,
            "fitness": list(self.fitness.values) if self.fitness.valid else None,
        }
