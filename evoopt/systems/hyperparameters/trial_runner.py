"""Runs trials in chunks of equal topology: in this process, in a pool, or on a cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evoopt.errors import EvooptError, one_line
from evoopt.execution import Executor, Worker
from evoopt.jobs.no_score import check_metrics
from evoopt.jobs.phase_worker import PhaseSetup
from evoopt.jobs.queue import Memory, in_chunks, jobs_here, run_jobs
from evoopt.systems.hyperparameters.schedules import initial_seed
from evoopt.systems.hyperparameters.trial import OF_METRIC, Trial, TrialPlan, run_trials
from evoopt.tasks import get_task
from evoopt.tasks.task import Task
from evoopt.training.interrupted import interruptible
from evoopt.training.member_hyperparameters import Value, without_meaning
from evoopt.training.population import ModelPopulation
from evoopt.training.streams import initial_model

Values = Mapping[str, Value]
ModelFunction = Callable[[Values], nn.Module]
"""Makes a fresh network of hyperparameters by name."""

_FAILURE = "training a chunk of networks failed"


@dataclass(frozen=True)
class TrialSetup:
    """What a worker is created from.

    Attributes:
        phase: Task, data and device.
        plan: How networks are trained and judged; a ``batch_size`` of 0 stands for the task's own.
        model_fn: Makes a network; by default the task's ``make_model`` is called with what of the values is
            no hyperparameter of its training: ``dense = 64`` as a keyword argument, ``filters.0 = 8`` and
            ``filters.1 = 16`` as ``filters=(8, 16)``.
    """

    phase: PhaseSetup
    plan: TrialPlan
    model_fn: ModelFunction | None = None

    @property
    def task(self) -> Task:
        """The task itself."""
        return get_task(self.phase.task) if isinstance(self.phase.task, str) else self.phase.task


@dataclass(frozen=True)
class TrialChunk:
    """Networks of one topology.

    Attributes:
        values: Hyperparameters of each.
        seed: Decides initial weights and minibatches, the same for all.
    """

    values: tuple[dict[str, Value], ...]
    seed: int


def make_trial_worker(setup: TrialSetup) -> Worker:
    """Load the task and return the function that handles chunks.

    Raises:
        EvooptError: A task that cannot be loaded.
    """
    task, data = setup.phase.load()
    device = setup.phase.device
    train, validation = data.train.to(device), data.validation.to(device)
    plan = setup.plan if setup.plan.batch_size else replace(setup.plan, batch_size=task.batch_size)

    names: list[str] | None = None  # the same for all chunks

    def work(chunk: TrialChunk) -> list[Trial]:
        nonlocal names
        if names is None and setup.model_fn is None:
            names = topology_names(task, None, chunk.values[0])
        models = [
            make_network(task, setup.model_fn, one, chunk.seed, names).to(device) for one in chunk.values
        ]
        return run_trials(task, train, validation, models, chunk.values, plan, chunk.seed)

    return interruptible(work)


def make_network(
    task: Task, model_fn: ModelFunction | None, values: Values, seed: int, names: Sequence[str] | None = None
) -> nn.Module:
    """A fresh network of these hyperparameters; torch's global random state stays.

    Args:
        task: Makes the network where there is no ``model_fn``.
        model_fn: Makes it of all hyperparameters.
        values: Hyperparameters by name.
        seed: Decides the initial weights.
        names: What `topology_names` gives, where it is known: to ask takes a network.

    Raises:
        EvooptError: The task's model does not take them.
    """
    if model_fn is None:
        known = topology_names(task, None, values) if names is None else names
        topology = {name: values[name] for name in known}
        made = replace(task, make_model=lambda: _call(task, topology))
    else:
        made = replace(task, make_model=lambda: model_fn(values))
    return initial_model(made, initial_seed(seed))


def topology_names(task: Task, model_fn: ModelFunction | None, values: Values) -> list[str]:
    """Those hyperparameters that decide what a network looks like, not how it is trained."""
    with torch.random.fork_rng(devices=[]):
        model = task.make_model() if model_fn is None else model_fn(values)
    return without_meaning(values, ModelPopulation.from_models([model]))


class TrialRunner:
    """Trains genomes afresh, those of equal topology together; results do not depend on who works on them.

    Args:
        work: Works on chunks and returns their results in order.
        setup: What the workers were created from.
        chunk_size: Networks per chunk; seconds are measured one by one.
    """

    def __init__(
        self,
        work: Callable[[Sequence[TrialChunk]], Sequence[list[Trial]]],
        setup: TrialSetup,
        chunk_size: int = 10,
    ) -> None:
        self._work, self._task, self._model_fn = work, setup.task, setup.model_fn
        self._chunk_size = 1 if setup.plan.fom == "seconds" else chunk_size
        self._by_metric = setup.plan.fom in OF_METRIC
        self._topology: list[str] | None = None

    @classmethod
    def here(cls, setup: TrialSetup, chunk_size: int = 10) -> TrialRunner:
        """One that works in this process."""
        return cls(jobs_here(make_trial_worker(setup), _FAILURE), setup, chunk_size)

    @classmethod
    def on(
        cls,
        executor: Executor,
        setup: TrialSetup,
        chunk_size: int = 10,
        memory: Memory[TrialChunk, list[Trial]] | None = None,
        states: Path | None = None,
    ) -> TrialRunner:
        """One that has an executor do it, whose workers `make_trial_worker` makes of the same setup.

        Args:
            executor: Where.
            setup: What the workers are created from.
            chunk_size: Networks per chunk.
            memory: Holds chunks that an interrupted attempt has finished.
            states: See `run_jobs`; trainings that are timed leave none.
        """
        states = None if setup.plan.fom == "seconds" else states

        def work(chunks: Sequence[TrialChunk]) -> list[list[Trial]]:
            return run_jobs(executor, chunks, memory, states=states, failure=_FAILURE)

        return cls(work, setup, chunk_size)

    def run(self, values: Sequence[Values], seed: int) -> list[Trial]:
        """Train a network of each set of hyperparameters.

        Args:
            values: Hyperparameters by name.
            seed: Decides initial weights and minibatches, the same for all.

        Raises:
            EvooptError: A network cannot be made or trained.
            NoScoreError: A metric that decides lies outside of [0, 1].
        """
        members = ((self._topology_of(one), k) for k, one in enumerate(values))
        layout = [indices for _, indices in in_chunks(members, self._chunk_size)]
        chunks = [TrialChunk(tuple(dict(values[k]) for k in indices), seed) for indices in layout]
        trials: dict[int, Trial] = {}
        for indices, of_chunk in zip(layout, self._work(chunks), strict=True):
            trials.update(zip(indices, of_chunk, strict=True))
        if self._by_metric:
            check_metrics(self._task.name, (trial.metric for trial in trials.values()))
        return [trials[k] for k in range(len(values))]

    def _topology_of(self, values: Values) -> str:
        if self._topology is None:
            self._topology = topology_names(self._task, self._model_fn, values)
        return json.dumps([values[name] for name in self._topology])


def _call(task: Task, topology: Values) -> nn.Module:
    arguments: dict[str, Any] = {}
    parts: dict[str, dict[int, Value]] = {}
    for name, value in topology.items():
        stem, _, index = name.rpartition(".")
        if stem and index.isdecimal():
            parts.setdefault(stem, {})[int(index)] = value
        else:
            arguments[name] = value
    arguments.update({stem: tuple(items[k] for k in sorted(items)) for stem, items in parts.items()})
    try:
        return task.make_model(**arguments)
    except TypeError as error:
        raise EvooptError(
            f"task {task.name!r}: its model does not take these hyperparameters: {one_line(error)}"
        ) from None
