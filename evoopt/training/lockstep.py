"""The engine: a population that makes each step together, whether its members start now or live on."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from evoopt.tasks.task import Split, Task
from evoopt.training.coefficients import Step
from evoopt.training.dropout import with_given_dropout
from evoopt.training.forward import is_known, losses_and_gradients
from evoopt.training.graphs import Replayed, records
from evoopt.training.interrupted import State, current_states
from evoopt.training.layers import all_known
from evoopt.training.memory import members_at_once
from evoopt.training.minibatches import Minibatch, draws_of, load_minibatches
from evoopt.training.plan import TrainingPlan, TrainingResult
from evoopt.training.population import ModelPopulation
from evoopt.training.population_update import Update
from evoopt.training.tapes import Played


class _Part(NamedTuple):
    """Members ``start`` to ``stop - 1`` of those still in training, which go through a step at once."""

    start: int
    stop: int
    columns: slice | Tensor  # which they are among all that began
    population: ModelPopulation  # shares memory with the whole one
    gradients: Tensor
    compute: Callable[..., Any]  # losses of inputs, targets and numbers for dropout, and gradients in place


class Lockstep:
    """Members that make each step together; members can leave between two steps.

    Weights and buffers of the population change in place until a member leaves; then those that stay are
    copied.

    Args:
        task: What to learn.
        train: Training split, on the population's device and of its dtype.
        population: Who is trained.
        update: Moves their weights, and keeps their moments.
        plans: One plan for all members or one for each, see `load_minibatches`.

    Attributes:
        population: The members still in training.
        alive: Their indices among all that began.
        ended: What came of those that have left.
        losses: Batch losses ``[steps, P]`` of all that began; NaN for steps not made.
    """

    def __init__(
        self,
        task: Task,
        train: Split,
        population: ModelPopulation,
        update: Update,
        plans: Sequence[TrainingPlan],
    ) -> None:
        weights = population.weights
        self.population = population
        self.alive = list(range(len(population)))
        self.ended: dict[int, TrainingResult] = {}
        self.losses = torch.full((plans[0].steps, len(weights)), math.nan).to(weights)
        self._task, self._train, self._update, self._plans = task, train, update, plans
        self._shared = len(plans) == 1
        self._model = with_given_dropout(population.member(0)).to(weights.device).train()
        self._draws = draws_of(plans, self._model, weights.device)
        self._parts: list[_Part] = []
        self._replayed: Replayed | Played | None = None
        self._recorded: Literal["", "parts", "steps"] = ""
        manner, here = population.architecture.manner, records(weights.device)
        # A tape sees operations of torch and our kernels: others' code may do more.
        known = all_known(self._model) and is_known(task.loss)
        if not manner.draws and (here or (weights.is_cpu and known and update.recordable)):
            self._recorded = "steps" if update.recordable else "parts"
        self._at = torch.zeros(1, dtype=torch.int64, device=weights.device)  # the step, for a recording
        self._names: list[str] = []  # of the numbers for dropout
        self._seeds: tuple[int, ...] = ()
        # Of trainings that follow each other, another attempt may split other ones for want of memory.
        self._identity = zlib.crc32(repr((population.architecture.way, update.rules, plans)).encode())

    def minibatches(self) -> Iterator[tuple[int, Minibatch]]:
        """The 0-based steps with their data, in order, as `step` takes them.

        Where states are kept (see `evoopt.training.interrupted`), the steps that an interrupted attempt has
        made are left out.
        """
        try:
            yield from self._loaded()
        finally:
            self._forget()

    def _loaded(self) -> Iterator[tuple[int, Minibatch]]:
        load = partial(load_minibatches, self._task, self._train, self._plans)
        states = current_states()
        if states is None:
            yield from enumerate(load())
            return
        path = states.next_file()
        made = self._restore(states.load(path))
        for step, batch in enumerate(load(first=made), made):
            yield step, batch
            if states.due(at_end=step + 1 == len(self.losses)):
                states.save(path, self._state(step + 1))

    def _forget(self) -> None:
        """What steps are made with: as it knows of the training, its memory would wait for a collection."""
        self._parts, self._replayed = [], None

    def _state(self, made: int) -> State:
        ended = {k: [one.outcome, one.reason, one.steps] for k, one in self.ended.items()}
        facts = {"of": self._identity, "made": made, "ended": ended}
        return facts, {
            "losses": self.losses[:made].cpu(),
            **{name: tensor.cpu() for name, tensor in self._tensors().items()},
        }

    def _restore(self, state: State | None) -> int:
        """Go on from a state, if it is one of this training; returns the number of steps made."""
        if state is None or state[0].get("of") != self._identity:
            return 0
        facts, tensors = state
        losses = tensors.pop("losses")
        self.drop({int(k): TrainingResult.unsuccessful(*what) for k, what in facts["ended"].items()})
        self.losses[: len(losses)] = losses
        for name, own in self._tensors().items():
            own.copy_(tensors[name])
        return int(facts["made"])

    def _tensors(self) -> dict[str, Tensor]:
        moved = {f"update.{name}": tensor for name, tensor in self._update.tensors().items()}
        buffers = {f"state.{name}": tensor for name, tensor in self.population.state.items()}
        return {"weights": self.population.weights, **moved, **buffers}

    def step(self, step: int, batch: Minibatch) -> None:
        """Compute losses and gradients of all members and move their weights.

        Where it can be recorded, a step is one launch on a device, and no more than its operations on a CPU.
        """
        if not self._parts:
            self._parts = self._split(batch.x if self._shared else batch.x[0])
            if self._recorded == "steps":
                whole, device = partial(self._all, step=self._at), self._at.device
                self._replayed = Replayed(whole, device) if records(device) else Played(whole)
        self._seeds = batch.seeds
        if self._replayed:
            self._update.reach(step)
            self._at.fill_(step)
            self._replayed(batch.x, batch.y)
        else:
            self._all(batch.x, batch.y, step)

    def _all(self, x: Tensor, y: Tensor, step: Step) -> None:
        drawn = self._draws.draw(x, step)
        self._names = list(drawn)
        tensors = (x, y, *drawn.values())
        for part in self._parts:
            losses = part.compute(*(tensors if self._shared else (t[part.columns] for t in tensors)))
            if losses.dtype != self.losses.dtype:  # in mixed precision
                losses = losses.to(self.losses.dtype)
            self.losses[step, part.columns] = losses
            self._update.step(part.population.weights, part.gradients, step, part.start, part.stop)

    def _losses(
        self,
        part: ModelPopulation,
        gradients: Tensor,
        members: Sequence[int],
        x: Tensor,
        y: Tensor,
        *drawn: Tensor,
    ) -> Tensor:
        uniform = dict(zip(self._names, drawn, strict=True))
        seeds = self._seeds if self._shared else [self._seeds[i] for i in members]
        return losses_and_gradients(part, self._task.loss, x, y, uniform, gradients, self._shared, seeds)

    def readout(self) -> ModelPopulation:
        """The members still in training with the weights that they are scored with."""
        old, weights = self.population, self._update.readout(self.population.weights)
        if weights is old.weights:
            return old
        return ModelPopulation(old.architecture, weights, old.state, old.rates)

    def drop(self, ended: Mapping[int, TrainingResult]) -> None:
        """Members of these indices, of all that began, leave."""
        self.ended.update(ended)
        kept = [k for k, member in enumerate(self.alive) if member not in ended]
        if len(kept) < len(self.alive):
            index = torch.tensor(kept, dtype=torch.int64, device=self.population.device)
            self.alive, self.population = [self.alive[k] for k in kept], self.population[index]
            self._update.select(index)
            self._forget()

    def _split(self, x: Tensor) -> list[_Part]:
        """Cut the population into parts of about equal size whose activations fit the cache."""
        members, weights = len(self.population), self.population.weights
        # The last minibatch of an epoch is smaller than those that come after it.
        whole = min(self._plans[0].batch_size, len(self._train))
        x = x[:1].expand(whole, *x.shape[1:])
        at_once = 1 if self.population.architecture.way == "loop" else members_at_once(self._model, x)
        count = math.ceil(members / at_once)
        # One after another they use the same memory for their gradients.
        gradients = torch.zeros_like(weights[: math.ceil(members / count)])
        alive = torch.tensor(self.alive, device=weights.device)
        everyone = members == self.losses.shape[1]
        parts: list[_Part] = []
        pool: Any = None
        for start, stop in pairwise(members * k // count for k in range(count + 1)):
            columns = slice(start, stop) if everyone else alive[start:stop]
            part, own = self.population.part(start, stop), gradients[: stop - start]
            compute: Callable[..., Any] = partial(self._losses, part, own, self.alive[start:stop])
            if self._recorded == "parts":
                pool = pool or torch.cuda.graph_pool_handle()
                compute = Replayed(compute, weights.device, pool)
            parts.append(_Part(start, stop, columns, part, own, compute))
        return parts
