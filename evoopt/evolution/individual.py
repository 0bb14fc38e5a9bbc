"""A member of a population: a genome and its ancestry, and DEAP's fitness where there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from deap import base

G = TypeVar("G")


@dataclass
class Individual(Generic[G]):
    """One individual.

    Attributes:
        id: Number in order of creation, unique in a run.
        genome: What it is made of; it has a ``key``, shared by genomes that mean the same, and ``to_json``.
        born: Generation it was created for.
        parents: Ids of its parents, empty for the first generation.
        operation: How it came to be: ``"seed"``, ``"random"``, ``"mate+mutate"``, ...
    """

    id: int
    genome: G
    born: int = 0
    parents: tuple[int, ...] = ()
    operation: str = "random"

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        return {**vars(self), "genome": self.genome.to_json()}  # type: ignore[attr-defined]

    @classmethod
    def from_json(cls, data: Mapping[str, Any], read_genome: Callable[[dict[str, Any]], G]) -> Individual[G]:
        """Read what `to_json` wrote.

        Raises:
            TypeError, ValueError, LookupError: Something else; files are not to be trusted to be ours.
        """
        return cls(
            **{
                **data,
                "id": int(data["id"]),
                "genome": read_genome(data["genome"]),
                "born": int(data["born"]),
                "parents": tuple(map(int, data["parents"])),
                "operation": str(data["operation"]),
            }
        )


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
class RankedIndividual(Individual[G]):
    """One that `deap.tools` can select.

    Attributes:
        replicates: Number of seeds per task its fitness is averaged over.
        survivor: Whether it was copied unchanged from the generation before.
        fitness: DEAP's fitness; invalid until scored.
        costs: What it costs, lower is better, where survivors are told apart by that, too.
        crowded: Place among its generation: minus the number of its front, then its crowding distance. Only
            NSGA-II sets it, whenever it needs it.
    """

    replicates: int = 1
    survivor: bool = False
    fitness: Fitness = field(default_factory=Fitness)
    costs: tuple[float, ...] = ()
    crowded: tuple[float, float] = (0.0, 0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        data = {**super().to_json(), "fitness": list(self.fitness.values) if self.fitness.valid else None}
        del data["crowded"]
        if not self.costs:
            del data["costs"]
        return data

    @classmethod
    def from_json(
        cls, data: Mapping[str, Any], read_genome: Callable[[dict[str, Any]], G]
    ) -> RankedIndividual[G]:
        """Read what `to_json` wrote."""
        fitness = Fitness()
        if data["fitness"] is not None:
            # Strict about their number, which DEAP asserts.
            unfinished, score, loss = map(float, data["fitness"])
            fitness.values = (unfinished, score, loss)
        known = {
            "replicates": int(data["replicates"]),
            "survivor": bool(data["survivor"]),
            "fitness": fitness,
            "costs": tuple(map(float, data.get("costs", ()))),
        }
        return super().from_json({**data, **known}, read_genome)  # type: ignore[return-value]
