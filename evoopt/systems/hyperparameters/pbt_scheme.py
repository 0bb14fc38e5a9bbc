"""Population-based training with recombination: hyperparameters evolve while the members train.

Vose et al. (2019), *Recombination of Artificial Neural Networks*, figure 3 and section 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.evolution.budget import Budget, lower_is_better
from evoopt.evolution.scored import newest
from evoopt.evolution.stages import Stage, State
from evoopt.jobs.no_score import check_metrics
from evoopt.jobs.phase_trainer import PhaseTrainer
from evoopt.jobs.phase_worker import Examples
from evoopt.systems.hyperparameters.breeding import Breeder
from evoopt.systems.hyperparameters.config import PbtSection
from evoopt.systems.hyperparameters.generations import HyperparameterGenerations
from evoopt.systems.hyperparameters.hyperparameter_space import HyperparameterSpace
from evoopt.systems.hyperparameters.schedules import Schedule, data_seed, initial_seed
from evoopt.systems.hyperparameters.trial import OF_METRIC, failure, figure_of_merit
from evoopt.systems.model_runs import Sizes, named
from evoopt.tasks.task import Task
from evoopt.training.member_hyperparameters import (
    RULE_NAMES,
    set_hyperparameters,
    update_rule,
    without_meaning,
)
from evoopt.training.members import Members
from evoopt.training.plan import PhasePlan
from evoopt.training.population import ModelPopulation


def pbt_budget(section: PbtSection, records: Sequence[dict[str, Any]] = ()) -> Budget:
    """What may end a run early: every member trains once in a generation."""
    return Budget(section, records, lambda _, before: before + section.population, lower_is_better)


class PbtScheme:
    """One run of population-based training.

    All members start from the same weights and see the same minibatches, so that they differ by their
    hyperparameters alone. All randomness follows from (seed, generation).

    Attributes:
        finished: Whether the last generation is done.
        members: The models of the current generation.

    Args:
        task: What to learn.
        sizes: Numbers of examples.
        section: Scheme, population, figure of merit.
        space: Hyperparameters.
        trainer: Trains and scores.
        steps: Optimizer steps per generation, by default an epoch.
        breeder: A scheme of one's own.

    Raises:
        EvooptError: Settings that do not fit each other, or a hyperparameter that means nothing to the model.
    """

    def __init__(
        self,
        task: Task,
        sizes: Sizes,
        section: PbtSection,
        space: HyperparameterSpace,
        trainer: PhaseTrainer,
        steps: int | None = None,
        breeder: Breeder | None = None,
    ) -> None:
        self._task, self._section, self._sizes, self._trainer = task, section, sizes, trainer
        self._steps = steps or max(1, sizes.train // sizes.batch)
        self._generations = HyperparameterGenerations.of(section, space, breeder)
        population = ModelPopulation.from_seeds(task, [initial_seed(section.seed)])
        _check_names(space, population)
        self.members = Members.fresh(
            population[[0] * section.population], [update_rule({}, section.optimizer)] * section.population
        )
        self._best = self.members[[0]]
        self.finished, self._steps_done = False, 0

    @property
    def generation(self) -> int:
        """Number of finished generations."""
        return self._generations.generation + self.finished

    def advance(self) -> Stage:
        """Train and score a generation, and breed the next one unless it was the last.

        Raises:
            EvooptError: All members failed, training did, or a metric that decides lies outside of [0, 1].
        """
        values = [ind.genome.values() for ind in self._generations.population]
        set_hyperparameters(self.members, values, self._section.optimizer)
        seed = data_seed(self._section.seed, self._generations.generation)
        plan = PhasePlan(self._steps, self._sizes.batch, (seed,))
        trained, _, [(losses, metrics)] = self._trainer.train(self.members, plan, [Examples("validation")])
        self._steps_done += self._steps * len(trained)
        fom = self._section.fom
        if fom in OF_METRIC:
            check_metrics(self._task.name, metrics)
        foms = [figure_of_merit(fom, *pair) for pair in zip(losses, metrics, strict=True)]
        if self._generations.score(foms, failure(fom, losses)):
            assert self._generations.best is not None
            self._best = trained[[self._generations.best.position]].reset()
        record = {**self._generations.record(), "steps": self._steps_done}
        self.finished = self._generations.generation == self._section.generations - 1
        if self.finished:
            self.members = trained
        else:
            self.members = trained[self._generations.breed()]
        created, self._generations.created = self._generations.created, []
        return Stage(record, created)

    def schedule(self) -> Schedule:
        """Hyperparameters along the weight lineage of the best member so far.

        Raises:
            EvooptError: No generation is done.
        """
        best = self._generations.best
        if best is None:
            raise EvooptError("there is no schedule before a generation is done")
        values = tuple(genome.values() for _, genome in self._generations.lineage(best.id))
        return Schedule(values, self._steps, self._sizes.batch, self._section.optimizer)

    def best_model(self) -> nn.Module:
        """The best member of all generations, as it was then."""
        return self._best.population.member(0)

    def winner(self) -> dict[str, Any]:
        """Id, figure of merit, hyperparameters and schedule of `best_model`, and work so far, as JSON."""
        best = self._generations.best
        assert best is not None, "a generation is done"
        return {
            "id": best.id,
            "fom": best.fom,
            "born": best.generation,
            "hyperparameters": best.genome.values(),
            "schedule": self.schedule().to_json(),
            "weight_lineage": [number for number, _ in self._generations.lineage(best.id)],
            "generations": self.generation,
            "steps": self._steps_done,
        }

    def snapshot(self) -> State:
        """Population, ancestry and counters; weights and moments of the living members and the best ever."""
        state = {
            "generations": self._generations.to_json(),
            "finished": self.finished,
            "steps": self._steps_done,
            "created": len(self._generations.created),
        }
        parts = {"members": self.members, "best": self._best}
        tensors = {f"{part}.{name}": t for part, kept in parts.items() for name, t in kept.tensors().items()}
        return state, tensors

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from a snapshot."""
        self._generations.restore(state["generations"])
        self.finished, self._steps_done = state["finished"], state["steps"]
        self._generations.created = newest(self._generations.population, state["created"])
        self.members, self._best = (
            like.with_tensors(named(tensors, f"{part}."), like.rules)
            for part, like in (("members", self.members), ("best", self._best))
        )


def _check_names(space: HyperparameterSpace, population: ModelPopulation) -> None:
    unknown = without_meaning(space.names, population)
    if unknown:
        known = [*RULE_NAMES, *(["dropout"] if population.rates else []), *population.state]
        raise EvooptError(
            f"hyperparameter {unknown[0]!r} means nothing to this model while it trains; what may change is "
            f"{', '.join(known)} (topology only in type 'hpo')"
        )
