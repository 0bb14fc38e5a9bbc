"""Search for hyperparameters, topology included: every genome trains a network afresh."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from evoopt.evolution.stages import Stage, State
from evoopt.systems.hyperparameters.assembly import make_generations
from evoopt.systems.hyperparameters.breeding import Breeder
from evoopt.systems.hyperparameters.config import RecombinationSection
from evoopt.systems.hyperparameters.generations import Member
from evoopt.systems.hyperparameters.hyperparameter_space import Hyperparameters, HyperparameterSpace
from evoopt.systems.hyperparameters.trial import Trial
from evoopt.training.hyperparameters import Value
from evoopt.training.plan import derive_seed

_TRIALS = 421

Evaluate = Callable[[Sequence[Mapping[str, Value]], int], Sequence[Trial]]
"""Trains networks with these hyperparameters from this seed; `TrialRunner.run` is one."""


class HpoScheme:
    """One search for hyperparameters.

    Equal phenotypes are trained once. All trainings have the same seed, so that networks of one topology
    differ by their hyperparameters alone.

    Attributes:
        finished: Whether the last generation is done.

    Args:
        section: Scheme, population, figure of merit.
        space: Hyperparameters.
        evaluate: Trains and judges.
        breeder: A scheme of one's own.

    Raises:
        EvooptError: Settings that do not fit each other.
    """

    def __init__(
        self,
        section: RecombinationSection,
        space: HyperparameterSpace,
        evaluate: Evaluate,
        breeder: Breeder | None = None,
    ) -> None:
        self._section, self._evaluate = section, evaluate
        self._generations = make_generations(section, space, breeder)
        self._trials: dict[str, Trial] = {}
        self._born: list[Member] = list(self._generations.population)
        self.finished = False

    @property
    def generation(self) -> int:
        """Number of finished generations."""
        return self._generations.generation + self.finished

    def advance(self) -> Stage:
        """Train what is new in a generation, and breed the next one unless it was the last.

        Raises:
            EvooptError: A training failed for another reason than divergence.
        """
        created, self._born = self._born, []
        genomes = [ind.genome for ind in self._generations.population]
        trained = self._train(genomes)
        trials = [self._trials[genome.key] for genome in genomes]
        self._generations.score([trial.fom for trial in trials])
        record = {
            **self._generations.record(),
            "trained": trained,
            "evaluations": len(self._trials),
            "trials": [trial.to_json() for trial in trials],
        }
        self.finished = self._generations.generation == self._section.generations - 1
        if not self.finished:
            self._generations.breed()
            created = [*created, *self._generations.population]
        return Stage(record, created)

    def winner(self) -> dict[str, Any]:
        """Id, figure of merit, hyperparameters and trial of the best, and work so far, as JSON."""
        best = self._generations.best
        if best is None:
            return {"id": None, "fom": None, "hyperparameters": None, "generations": self.generation}
        return {
            "id": best.id,
            "fom": best.fom,
            "born": best.generation,
            "hyperparameters": best.genome.values(),
            "trial": self._trials[best.genome.key].to_json(),
            "generations": self.generation,
            "evaluations": len(self._trials),
            "steps": sum(trial.steps for trial in self._trials.values()),
        }

    def snapshot(self) -> State:
        """Population and all trials; there are no tensors."""
        state = {
            "generations": self._generations.to_json(),
            "finished": self.finished,
            "unreported": len(self._born),
            "trials": {key: trial.to_json() for key, trial in self._trials.items()},
        }
        return state, {}

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from a snapshot."""
        self._generations.restore(state["generations"])
        self.finished = state["finished"]
        self._born = list(self._generations.population) if state["unreported"] else []
        self._trials = {key: Trial.from_json(row) for key, row in state["trials"].items()}

    def _train(self, genomes: Sequence[Hyperparameters]) -> int:
        new = {genome.key: genome.values() for genome in genomes if genome.key not in self._trials}
        seed = derive_seed(self._section.seed, _TRIALS)
        self._trials.update(zip(new, self._evaluate(list(new.values()), seed), strict=True))
        return len(new)
