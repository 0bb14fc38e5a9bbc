"""Schedules of hyperparameters: what one set of weights experienced, and its repetition from scratch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from evoopt.errors import EvooptError
from evoopt.jobs.phase_trainer import PhaseTrainer
from evoopt.jobs.phase_worker import Examples
from evoopt.optim.rule import check_header
from evoopt.tasks.task import Task
from evoopt.training.member_hyperparameters import Value, set_hyperparameters, update_rule
from evoopt.training.members import Members
from evoopt.training.plan import PhasePlan, derive_seed
from evoopt.training.population import ModelPopulation

SCHEDULE_VERSION = 1

_INITIAL, _MINIBATCHES = 411, 412


def initial_seed(root: int) -> int:
    """Seed of the initial weights of a training."""
    return derive_seed(root, _INITIAL)


def data_seed(root: int, generation: int) -> int:
    """Seed of the minibatches, augmentations and dropout numbers of a generation."""
    return derive_seed(root, _MINIBATCHES, generation)


@dataclass(frozen=True)
class Schedule:
    """Hyperparameters that change from generation to generation.

    Attributes:
        values: For each generation, values by name.
        steps: Optimizer steps per generation.
        batch_size: Minibatch size.
        optimizer: Preset that the hyperparameters change.

    Raises:
        EvooptError: No generations, or generations with different hyperparameters.
    """

    values: tuple[Mapping[str, Value], ...]
    steps: int
    batch_size: int
    optimizer: str = "adam"

    def __post_init__(self) -> None:
        if not self.values or any(set(one) != set(self.values[0]) for one in self.values):
            raise EvooptError("a schedule needs the same hyperparameters in each of its generations")

    @classmethod
    def constant(
        cls,
        values: Mapping[str, Value],
        generations: int,
        steps: int,
        batch_size: int,
        optimizer: str = "adam",
    ) -> Schedule:
        """The same hyperparameters all the time, to compare with."""
        return cls((dict(values),) * generations, steps, batch_size, optimizer)

    def __len__(self) -> int:
        return len(self.values)

    def at(self, step: int) -> Mapping[str, Value]:
        """The values of a step, counted from 0; those of the last generation after its end."""
        return self.values[min(step // self.steps, len(self) - 1)]

    def to_json(self) -> dict[str, Any]:
        """Versioned JSON object; `from_json` reads it back exactly."""
        return {
            "kind": "schedule",
            "version": SCHEDULE_VERSION,
            "optimizer": self.optimizer,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "values": [dict(one) for one in self.values],
        }

    def ray_policy(self, iteration_steps: int | None = None) -> str:
        """The text of a policy file for Ray Tune's `PopulationBasedTrainingReplay`.

        Args:
            iteration_steps: Optimizer steps between two reports to Ray; those of a generation by default.

        Raises:
            EvooptError: A generation that is no whole number of iterations.
        """
        iterations, rest = divmod(self.steps, iteration_steps or self.steps)
        if rest:
            raise EvooptError(f"{self.steps} steps of a generation are no multiple of {iteration_steps}")
        pairs = enumerate(pairwise((self.values[0], *self.values)))
        # Each row is a change: trial and donor, when by either's count, and the values before and after.
        rows = [
            ["0", "0", k * iterations, k * iterations, dict(old), dict(new)]
            for k, (old, new) in pairs
            if k == 0 or old != new
        ]
        return "".join(f"{json.dumps(row)}\n" for row in rows)

    @classmethod
    def from_json(cls, data: Any) -> Schedule:
        """Read a schedule written by `to_json`.

        Raises:
            EvooptError: Not a schedule, or one of another version.
        """
        body = check_header(data, "schedule", SCHEDULE_VERSION)
        try:
            values = tuple(dict(one) for one in body["values"])
            return cls(values, int(body["steps"]), int(body["batch_size"]), str(body["optimizer"]))
        except (KeyError, TypeError, ValueError):
            raise EvooptError(
                "a schedule needs values by generation, steps, batch_size and optimizer"
            ) from None


@dataclass(frozen=True)
class Replay:
    """A schedule repeated from scratch.

    Attributes:
        seeds: Root seed of each training.
        losses: Loss after each generation and training, ``[generations][seeds]``.
        metrics: Metric likewise; NaN where weights are not finite.
        members: The trained models.
    """

    seeds: tuple[int, ...]
    losses: tuple[tuple[float, ...], ...]
    metrics: tuple[tuple[float, ...], ...]
    members: Members


def replay(
    schedule: Schedule,
    seeds: Sequence[int],
    task: Task,
    trainer: PhaseTrainer,
    scored: Examples | None = None,
) -> Replay:
    """Train fresh models by a schedule, all seeds as one population.

    Each seed has its own initial weights and minibatches. The seed of the run that found the schedule gives
    its winner again, with the engine ``reference`` to the last bit. Other engines keep the members' weights
    in one matrix, and products of matrices may round by the place of their operands in memory.

    Args:
        schedule: What to set when.
        seeds: Root seeds.
        task: What to learn.
        trainer: Trains and scores.
        scored: What to score on, validation data by default.

    Raises:
        EvooptError: Training failed.
    """
    population = ModelPopulation.from_seeds(task, [initial_seed(seed) for seed in seeds])
    rule = update_rule(schedule.values[0], schedule.optimizer)
    members = Members.fresh(population, (rule,) * len(seeds))
    losses, metrics = [], []
    for generation, values in enumerate(schedule.values):
        set_hyperparameters(members, [values] * len(seeds), schedule.optimizer)
        data_seeds = tuple(data_seed(seed, generation) for seed in seeds)
        plan = PhasePlan(schedule.steps, schedule.batch_size, data_seeds)
        members, _, [(loss, metric)] = trainer.train(members, plan, [scored or Examples("validation")])
        losses.append(tuple(loss))
        metrics.append(tuple(metric))
    return Replay(tuple(seeds), tuple(losses), tuple(metrics), members)
