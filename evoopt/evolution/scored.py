"""One scheme for every type whose individuals are scored one generation at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor

from evoopt.evolution.individual import Individual
from evoopt.evolution.stages import Stage, State


class Generations(Protocol):
    """Individuals that follow each other: the elitist ones, those of hyperparameters, or one's own.

    Attributes:
        generation: Number of the current generation, from 0.
        population: Its individuals.
        created: Those created since somebody last took them from here.
    """

    generation: int
    created: list[Individual[Any]]

    @property
    def population(self) -> Sequence[Individual[Any]]:
        """Individuals of the current generation."""

    def breed(self) -> Any:
        """Replace the current generation, which has been scored, by the next."""

    def to_json(self) -> dict[str, Any]:
        """Everything needed to go on."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `to_json` gave."""


Gs = TypeVar("Gs", bound=Generations)
Gs_contra = TypeVar("Gs_contra", bound=Generations, contravariant=True)


class Judge(Protocol[Gs_contra]):
    """Scores generations."""

    def score(self, generations: Gs_contra) -> dict[str, Any]:
        """Give the individuals of the current generation their fitness; returns its statistics as JSON."""

    def to_json(self) -> dict[str, Any]:
        """What it remembers."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Remember what `to_json` gave."""


def newest(population: Sequence[Individual[Any]], count: int) -> list[Individual[Any]]:
    """The last ``count`` of a population; what is created stands behind what survived."""
    return list(population[len(population) - count :])


class ScoredScheme(Generic[Gs]):
    """Score, breed, score, ...: see `evoopt.evolution.stages.StagedScheme`.

    Attributes:
        generations: The individuals.
        finished: Whether the last generation is scored.

    Args:
        generations: The individuals, of which the first generation is not scored yet.
        count: How many generations to score.
        judge: Scores them.
        enough: Told of the statistics of every generation; says whether no more are to follow.
    """

    def __init__(
        self,
        generations: Gs,
        count: int,
        judge: Judge[Gs],
        enough: Callable[[dict[str, Any]], bool] = lambda record: False,
    ) -> None:
        self.generations = generations
        self._count, self._judge, self._enough = count, judge, enough
        self.finished = False

    @property
    def generation(self) -> int:
        """Number of finished generations."""
        return self.generations.generation + self.finished

    def advance(self) -> Stage:
        """Score a generation, and breed the next one unless it was the last.

        After what was the last one because there was enough, the next is bred and scored.

        Raises:
            EvooptError: It cannot be scored.
        """
        if self.finished:
            self.generations.breed()
        record = self._judge.score(self.generations)
        self.finished = self._enough(record) or self.generations.generation == self._count - 1
        if not self.finished:
            self.generations.breed()
        created, self.generations.created = self.generations.created, []
        return Stage(record, created)

    def snapshot(self) -> State:
        """Individuals and what the judge remembers; there are no tensors."""
        state = {
            "generations": self.generations.to_json(),
            "judge": self._judge.to_json(),
            "finished": self.finished,
            "created": len(self.generations.created),
        }
        return state, {}

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from a snapshot."""
        self.generations.restore(state["generations"])
        self.generations.created = newest(self.generations.population, state["created"])
        self._judge.restore(state["judge"])
        self.finished = bool(state["finished"])
