"""Trains and scores populations of living models in chunks: in this process, in a pool, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.execution import Executor, Worker
from evoopt.execution.executor import ordered
from evoopt.jobs.exchange import answer, received, sent
from evoopt.optim.rule import UpdateRule
from evoopt.tasks import DataOptions, get_task, load_task_data
from evoopt.tasks.task import Split, Task, TaskData
from evoopt.training.forward import evaluate_population
from evoopt.training.members import Members, joined
from evoopt.training.phase import PhaseEngine, PhasePlan, train_phase
from evoopt.training.population import ModelPopulation
from evoopt.training.streams import initial_model

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
        index = torch.tensor(self.indices, dtype=torch.int64)
        return Split(split.x[index], split.y[index])


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

    tensors: Mapping[str, NDArray[Any]] | Path
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

    tensors: Mapping[str, NDArray[Any]] | Path | None
    losses: NDArray[Any]
    scores: tuple[NDArray[np.float64], ...]


def make_phase_worker(setup: PhaseSetup) -> Worker:
    """Load the task and return the function that handles chunks.

    Raises:
        EvooptError: A task that cannot be loaded.
    """
    task, data = setup.load()
    like = Members.fresh(ModelPopulation.from_models([initial_model(task, 0)]), [UpdateRule(())])
    train = data.train.to(setup.device)

    def work(chunk: PhaseChunk) -> PhaseResult:
        members = like.with_tensors(received(chunk.tensors), chunk.rules)
        members = Members(
            members.population.to(setup.device), members.rules,
            members.m.to(setup.device), members.v.to(setup.device), members.steps,
        )  # fmt: skip
        losses = np.zeros((0, len(members)))
        if chunk.plan is not None:
            losses = train_phase(task, train, members, chunk.plan, chunk.engine).numpy()
        scores = []
        for examples in chunk.scored:
            split = examples.of(data).to(setup.device)
            found = evaluate_population(members.population, task, split)
            scores.append(torch.stack(found).numpy())
        after = None if chunk.plan is None else answer(_arrays(members), chunk.tensors)
        return PhaseResult(after, losses, tuple(scores))

    return work


Scores = list[tuple[list[float], list[float]]]


class PhaseTrainer:
    """Trains and scores `Members` by chunks; the result does not depend on who works on them.

    Args:
        run: Runs chunks and returns their results in order.
        chunk_size: Members per chunk. It decides how sums are rounded, so it belongs to the configuration.
        engine: How to train.
    """

    def __init__(
        self,
        run: Callable[[Sequence[PhaseChunk]], Sequence[PhaseResult]],
        chunk_size: int = 10,
        engine: PhaseEngine = "batched",
    ) -> None:
        self._run = run
        self._chunk_size = chunk_size
        self._engine: PhaseEngine = engine

    @classmethod
    def here(cls, setup: PhaseSetup, chunk_size: int = 10, engine: PhaseEngine = "batched") -> PhaseTrainer:
        """One that works in this process."""
        work = make_phase_worker(setup)
        return cls(lambda chunks: [work(chunk) for chunk in chunks], chunk_size, engine)

    @classmethod
    def on(
        cls,
        executor: Executor,
        chunk_size: int = 10,
        engine: PhaseEngine = "batched",
        exchange: Path | None = None,
    ) -> PhaseTrainer:
        """One that has an executor do it, whose workers `make_phase_worker` makes.

        Args:
            executor: Where.
            chunk_size: Members per chunk.
            engine: How to train.
            exchange: Folder that all machines see; members travel in it, not in messages.
        """

        def run(chunks: Sequence[PhaseChunk]) -> list[PhaseResult]:
            with sent(chunks, exchange) as parcels:
                results = ordered(executor.run(parcels), len(parcels))
                for result in results:
                    if result.error is not None:
                        raise EvooptError(f"training a chunk of members failed: {result.error}")
                return [_unpacked(cast(PhaseResult, result.value)) for result in results]

        return cls(run, chunk_size, engine)

    def train(
        self, members: Members, plan: PhasePlan, scored: Sequence[Examples] = ()
    ) -> tuple[Members, Tensor, Scores]:
        """Train members and score them.

        Args:
            members: Who is trained; they stay as they are.
            plan: For how long, on which data.
            scored: What to score the trained members on.

        Returns:
            The trained members, batch losses ``[steps, P]``, and for each thing scored on losses and metrics
            (lists of P numbers, NaN where weights are not finite).

        Raises:
            EvooptError: A chunk failed, its worker was lost twice, or a worker could not be made.
        """
        results = self._chunks(members, plan, scored)
        trained = [
            members.with_tensors(received(r.tensors or {}), rules)
            for r, rules in zip(results, self._split(members.rules), strict=True)
        ]
        losses = torch.cat([torch.from_numpy(np.array(r.losses)) for r in results], dim=1)
        return joined(trained), losses, _joined_scores(results)

    def score(self, members: Members, scored: Sequence[Examples]) -> Scores:
        """Score members; see `train`."""
        return _joined_scores(self._chunks(members, None, scored))

    def _split(self, items: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return [items[k : k + self._chunk_size] for k in range(0, len(items), self._chunk_size)]

    def _chunks(
        self, members: Members, plan: PhasePlan | None, scored: Sequence[Examples]
    ) -> Sequence[PhaseResult]:
        arrays, chunks = _arrays(members), []
        for k, rules in enumerate(self._split(members.rules)):
            rows = slice(k * self._chunk_size, k * self._chunk_size + len(rules))
            own = None if plan is None else _own_seeds(plan, rows)
            tensors = {name: array[rows] for name, array in arrays.items()}
            chunks.append(PhaseChunk(tensors, rules, own, self._engine, tuple(scored)))
        return self._run(chunks)


def _own_seeds(plan: PhasePlan, rows: slice) -> PhasePlan:
    if plan.shared:
        return plan
    # A chunk of a single member would otherwise take its one seed for a shared one, which is the same.
    return replace(plan, seeds=plan.seeds[rows])


def _arrays(members: Members) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in members.tensors().items()}


def _unpacked(result: PhaseResult) -> PhaseResult:
    """The same with the members themselves in place of their file, which is about to be removed."""
    if not isinstance(result.tensors, Path):
        return result
    return replace(result, tensors={name: t.numpy() for name, t in received(result.tensors).items()})


def _joined_scores(results: Sequence[PhaseResult]) -> Scores:
    count = len(results[0].scores)
    joined_ = [np.concatenate([r.scores[k] for r in results], axis=1) for k in range(count)]
    return [(pair[0].tolist(), pair[1].tolist()) for pair in joined_]
