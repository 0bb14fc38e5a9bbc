"""What runs inside a worker that trains and scores living models: members come and go as arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from evoopt.execution import Worker
from evoopt.jobs.transfer import Parcel, State, answer, as_arrays, received
from evoopt.optim.rule import UpdateRule
from evoopt.tasks import DataOptions, get_task, load_task_data
from evoopt.tasks.task import Split, Task, TaskData
from evoopt.training.forward import evaluate_population
from evoopt.training.interrupted import interruptible
from evoopt.training.members import Members
from evoopt.training.phase import PhaseEngine, train_phase
from evoopt.training.plan import PhasePlan
from evoopt.training.population import ModelPopulation
from evoopt.training.streams import initial_model
from evoopt.training.trial_run import find_manner

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Examples:
    """What members are scored on.

    Attributes:
        part: Part of the task's data.
        indices: Which examples of it, all by default.
    """

    part: Part
    indices: tuple[int, ...] | None = None

    def of(self, data: TaskData) -> Split:
        """The examples.

        Raises:
            SealedTestError: Test data that is sealed.
        """
        split = data.test.open() if self.part == "test" else getattr(data, self.part)
        if self.indices is None:
            return cast(Split, split)
        return cast(Split, split).part(torch.tensor(self.indices, dtype=torch.int64))


@dataclass(frozen=True)
class PhaseSetup:
    """What a worker is created from: a task's name, or a task and its data.

    Attributes:
        task: The task or its name.
        data: Its data, or how to load it.
        device: Where to train.
    """

    task: str | Task
    data: DataOptions | TaskData
    device: str = "cpu"

    def load(self) -> tuple[Task, TaskData]:
        """The task and its data.

        Raises:
            EvooptError: A task that cannot be loaded.
        """
        task = get_task(self.task) if isinstance(self.task, str) else self.task
        data = load_task_data(task, self.data) if isinstance(self.data, DataOptions) else self.data
        return task, data


@dataclass(frozen=True)
class PhaseChunk:
    """Members as arrays, and what to do with them.

    Attributes:
        tensors: See `Members.tensors`; or the safetensors file that holds them.
        rules: One per member.
        plan: Training; None only scores.
        engine: How to train.
        scored: What to score on, after training.
    """

    tensors: Parcel
    rules: tuple[UpdateRule, ...]
    plan: PhasePlan | None
    engine: PhaseEngine
    scored: tuple[Examples, ...] = ()


@dataclass(frozen=True)
class PhaseResult:
    """What came of a chunk.

    Attributes:
        tensors: The members after training, or the file that holds them; None if they were only scored.
        losses: Batch losses ``[steps, n]``; empty if they were only scored.
        scores: Losses and metrics ``[2, n]`` for each thing scored on.
    """

    tensors: Parcel | None
    losses: NDArray[Any]
    scores: tuple[NDArray[np.float64], ...]

    def to_state(self) -> State:
        """What is kept of it until its generation is finished, to the last bit."""
        if self.tensors is None:
            return {"scores": [pair.tolist() for pair in self.scores]}, {}
        members = {f"members.{name}": tensor for name, tensor in received(self.tensors).items()}
        scores = {f"scores.{k}": torch.from_numpy(pair) for k, pair in enumerate(self.scores)}
        return {}, {**members, **scores, "losses": torch.from_numpy(self.losses)}

    def numbers(self) -> list[dict[str, float]]:
        """Loss and metric of each member, if it was scored once; else its last batch loss."""
        if self.scores:
            return [{"loss": loss, "metric": metric} for loss, metric in self.scores[0].T.tolist()]
        return [{"train_loss": loss} for loss in self.losses[-1].tolist()]

    @classmethod
    def from_state(cls, state: State) -> PhaseResult:
        """Read what `to_state` gave."""
        facts, tensors = state
        if "losses" not in tensors:
            scores = [np.array(pair, np.float64) for pair in facts["scores"]]
            return cls(None, np.zeros((0, scores[0].shape[1])), tuple(scores))
        arrays, prefix = as_arrays(tensors), "members."
        members = {n.removeprefix(prefix): x for n, x in arrays.items() if n.startswith(prefix)}
        count = len(arrays) - len(members) - 1
        return cls(members, arrays["losses"], tuple(arrays[f"scores.{k}"] for k in range(count)))


def make_phase_worker(setup: PhaseSetup) -> Worker:
    """Load the task and return the function that handles chunks.

    Raises:
        EvooptError: A task that cannot be loaded, or whose model cannot be trained.
    """
    task, data = setup.load()
    train = data.train.to(setup.device)
    like = Members.fresh(_population(task, train), [UpdateRule(())])

    def work(chunk: PhaseChunk) -> PhaseResult:
        members = like.with_tensors(received(chunk.tensors), chunk.rules)
        losses = np.zeros((0, len(members)))
        if chunk.plan is not None:
            losses = train_phase(task, train, members, chunk.plan, chunk.engine).numpy()
        scores = []
        for examples in chunk.scored:
            split = examples.of(data).to(setup.device)
            scores.append(torch.stack(evaluate_population(members.population, task, split)).numpy())
        after = None if chunk.plan is None else answer(as_arrays(members.tensors()), chunk.tensors)
        return PhaseResult(after, losses, tuple(scores))

    return interruptible(work)


def _population(task: Task, train: Split) -> ModelPopulation:
    """One of the task's models, which says how all of them run; rows of weights are as everywhere else."""
    models = [initial_model(task, seed).to(train.x.device) for seed in (0, 1)]
    population = ModelPopulation.from_models(models[:1])
    manner = find_manner(task, train, models, task.batch_size)
    population.architecture = replace(population.architecture, manner=manner)
    return population
