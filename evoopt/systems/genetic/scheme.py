"""The evolution of networks' weights without gradients, generation by generation.

Esfahanian and Akhavan (2019), *GACNN: Training Deep Convolutional Neural Networks with Genetic Algorithm*.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError, NoScoreError
from evoopt.evolution.individual import Individual
from evoopt.evolution.selection import Scores, best_first
from evoopt.evolution.stages import Stage, State
from evoopt.jobs.weight_scoring import Score
from evoopt.systems.genetic.succession import Child, Scheme
from evoopt.systems.genetic.weight_genome import WeightGenome
from evoopt.systems.genetic.weight_operators import WeightOperators
from evoopt.systems.model_runs import if_finite
from evoopt.tasks.seeding import seeded
from evoopt.training.plan import derive_seed
from evoopt.training.population import ModelPopulation

_INITIAL, _BREEDING, _MATING, _MUTATION = range(501, 505)
_AT_ONCE = 16  # children made together; more only take memory


def initial_population(model_fn: Callable[[], nn.Module], size: int, seed: int) -> ModelPopulation:
    """Models with the initial weights that ``model_fn`` gives them; torch's global random state stays."""
    models = []
    for k in range(size):
        with seeded(derive_seed(seed, _INITIAL, k)):
            models.append(model_fn())
    return ModelPopulation.from_models(models)


class GeneticScheme:
    """One evolution of a population's weights.

    All randomness follows from (seed, generation, brood), so a checkpoint needs no random states. Only new
    networks are scored.

    Attributes:
        generation: Number of finished generations; the first one only scores the initial population.
        weights: The networks of the current generation ``[P, D]``.
        fitness: Their fitness ``[P]``, NaN for none.
        best_row: The fittest network that ever was ``[D]``.

    Args:
        initial: The first generation. Buffers and frozen parameters of its first member are everybody's.
        operators: Mate and mutate.
        scheme: Who is mated and who survives.
        score: Scores rows of weights.
        generations: When to stop.
        seed: Root of all randomness.
        examples: Number of examples that a network is scored on, for the books.
    """

    def __init__(
        self,
        initial: ModelPopulation,
        operators: WeightOperators,
        scheme: Scheme,
        score: Score,
        *,
        generations: int,
        seed: int,
        examples: int,
    ) -> None:
        self._one = initial[[0]]
        self._operators, self._scheme, self._score = operators, scheme, score
        self._generations, self._seed, self._examples = generations, seed, examples
        self.generation = 0
        self.weights = initial.packed()
        self.fitness = np.full(len(initial), math.nan)
        self._ids = list(range(len(initial)))
        self._evaluations = 0
        self.best_row, self._best_id, self._best_fitness = self.weights[0].clone(), 0, math.nan

    @property
    def finished(self) -> bool:
        """Whether the last generation is done."""
        return self.generation >= self._generations

    def advance(self) -> Stage:
        """Do a generation: the first scores, the others breed about as many children as there are members.

        Raises:
            NoScoreError: Not one network of the first generation has a fitness.
        """
        created: list[Individual[WeightGenome]] = []
        if self.generation == 0:
            self.fitness = self._scored(self.weights, self._ids)
            created = [Individual(k, WeightGenome(if_finite(f))) for k, f in enumerate(self.fitness.tolist())]
        else:
            for brood in range(self._scheme.broods(len(self.weights))):
                created += self._breed(brood)
        if math.isnan(self._best_fitness):
            raise NoScoreError("no network has a finite fitness: check the fitness function and the data")
        self.generation += 1
        return Stage(self._statistics(), created)

    def best_model(self) -> nn.Module:
        """The fittest network that ever was, in evaluation mode."""
        self._one.weights.copy_(self._one.architecture.layout.spread(self.best_row[None]))
        return self._one.member(0).eval()

    def winner(self) -> dict[str, Any]:
        """Id and fitness of `best_model`, and the work done, as JSON."""
        return {
            "id": self._best_id,
            "fitness": if_finite(self._best_fitness),
            "generations": self.generation,
            "evaluations": self._evaluations,
            "forward_samples": self._evaluations * self._examples,
        }

    def snapshot(self) -> State:
        """Everything needed to go on, with the same bytes in the end."""
        state = {
            "generation": self.generation,
            "ids": list(self._ids),
            "evaluations": self._evaluations,
            "best_id": self._best_id,
        }
        fitness = torch.from_numpy(np.append(self.fitness, self._best_fitness))
        return state, {"weights": self.weights.cpu().clone(), "best": self.best_row.cpu(), "fitness": fitness}

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from a snapshot.

        Raises:
            EvooptError: A snapshot of another population or architecture.
        """
        if tensors["weights"].shape != self.weights.shape:
            raise EvooptError("the checkpoint holds another number of networks, or networks of another kind")
        self.generation, self._ids = state["generation"], list(state["ids"])
        self._evaluations, self._best_id = state["evaluations"], state["best_id"]
        self.weights = tensors["weights"].to(self.weights.device, copy=True)
        self.best_row = tensors["best"].to(self.weights.device, copy=True)
        fitness = tensors["fitness"].numpy()
        self.fitness, self._best_fitness = fitness[:-1].copy(), float(fitness[-1])

    def _breed(self, brood: int) -> list[Individual[WeightGenome]]:
        rng = np.random.default_rng(derive_seed(self._seed, _BREEDING, self.generation, brood))
        children = self._scheme.breed(self.fitness, rng)
        first_id = self._evaluations
        ids = list(range(first_id, first_id + len(children)))
        rows = torch.cat(
            [self._made(children[start : start + _AT_ONCE]) for start in range(0, len(children), _AT_ONCE)]
        )
        scores = self._scored(rows, ids)
        born = [
            Individual(
                ids[k],
                WeightGenome(if_finite(float(scores[k]))),
                born=self.generation,
                parents=tuple(self._ids[i] for i in dict.fromkeys(child.parents)),
                operation=child.operation,
            )
            for k, child in enumerate(children)
        ]
        n, alive = len(self.weights), self._scheme.survivors(self.fitness, scores)
        moved = [row for row, index in enumerate(alive) if index != row]
        if moved:
            sources = [alive[row] for row in moved]
            self.weights[moved] = torch.stack([rows[i - n] if i >= n else self.weights[i] for i in sources])
        self.fitness = np.concatenate([self.fitness, scores])[alive]
        self._ids = [(self._ids + ids)[i] for i in alive]
        return born

    def _made(self, children: Sequence[Child]) -> Tensor:
        """Rows of weights of planned children."""
        mothers, fathers = (self.weights[[child.parents[k] for child in children]] for k in (0, 1))
        rows, complements = self._operators.mate(
            mothers, fathers, [np.random.default_rng(derive_seed(child.seed, _MATING)) for child in children]
        )
        second = [k for k, child in enumerate(children) if child.complement]
        rows[second] = complements[second]
        mutated = [k for k, child in enumerate(children) if child.mutated]
        if mutated:
            paths = [(children[k].seed, _MUTATION, int(children[k].complement)) for k in mutated]
            rngs = [np.random.default_rng(derive_seed(*path)) for path in paths]
            rows[mutated] = self._operators.mutate(rows[mutated], rngs)
        return rows

    def _scored(self, rows: Tensor, ids: Sequence[int]) -> Scores:
        scores = np.array(self._score(rows), np.float64)
        self._evaluations += len(rows)
        best = int(best_first(scores)[0])
        if scores[best] > self._best_fitness or math.isnan(self._best_fitness):
            self.best_row, self._best_id = rows[best].clone(), ids[best]
            self._best_fitness = float(scores[best])
        return scores

    def _statistics(self) -> dict[str, Any]:
        known = self.fitness[~np.isnan(self.fitness)]
        functions: dict[str, Callable[[Scores], Any]] = {
            "best": np.max, "median": np.median, "mean": np.mean, "std": np.std, "worst": np.min
        }  # fmt: skip
        return {
            "generation": self.generation - 1,
            **{name: float(f(known)) if len(known) else None for name, f in functions.items()},
            "best_ever": if_finite(self._best_fitness),
            "best_id": self._best_id,
            "without_fitness": len(self.fitness) - len(known),
            "evaluations": self._evaluations,
            "forward_samples": self._evaluations * self._examples,
        }
