"""Trains a population in lockstep as one batched program, with the results of the sequential reference."""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.optim.rule import UpdateRule
from evoopt.tasks.task import Split, Task, TaskData
from evoopt.training.dropout import with_given_dropout
from evoopt.training.feed import Minibatch, feed, scored_split
from evoopt.training.forward import evaluate_population, losses_and_gradients
from evoopt.training.halving import STOPPED, better_half
from evoopt.training.memory import members_at_once, members_in_cache
from evoopt.training.plan import Outcome, TrainingPlan, TrainingResult
from evoopt.training.population import ModelPopulation, Way
from evoopt.training.precision import Precision, computing_in
from evoopt.training.sequential import NOT_FINITE, bad_loss, tail_mean, train_sequential
from evoopt.training.streams import initial_model
from evoopt.training.update import BatchedUpdate, Compile


@dataclass(frozen=True)
class EngineOptions:
    """How a population is computed; what it computes stays the same up to rounding.

    Attributes:
        way: How forward passes run, see `Way`; ``auto`` is ``stacked`` for models it knows, else ``vmap``.
        compile: Whether the update is compiled.
        precision: ``tf32`` and ``bf16`` (mixed) are faster on CUDA and round more.
        check_every: Steps between two looks at who has diverged; each waits for the device.
    """

    way: Way | Literal["auto"] = "auto"
    compile: Compile = "auto"
    precision: Precision = "full"
    check_every: int = 50


def train_batched(
    task: Task,
    data: TaskData,
    rules: Sequence[UpdateRule],
    plan: TrainingPlan,
    device: torch.device | str = "cpu",
    keep_losses: bool = False,
    *,
    dtype: torch.dtype = torch.float32,
    options: EngineOptions | None = None,
) -> list[TrainingResult]:
    """Train one model per rule, all together; arguments and results are those of `train_sequential`.

    A diverged member is dropped at the next check; the steps it made since then do not count. If the batched
    program raises (out of memory, say, or a model it cannot run), the members are trained in two halves, and
    a single one by the reference, so that one member's failure costs no other its result.

    Raises:
        SealedTestError: The plan asks for test data that is sealed.
        EvooptError: Options that do not fit the device.
    """
    options = options or EngineOptions()
    if options.precision != "full" and torch.device(device).type != "cuda":
        raise EvooptError(f"precision {options.precision!r} needs a CUDA device; use 'full'")
    train, scored = data.train.to(device, dtype), scored_split(data, plan).to(device, dtype)
    return _train(task, data, train, scored, list(rules), plan, keep_losses, dtype, options)


def seconds_per_step(
    task: Task,
    data: TaskData,
    rules: Sequence[UpdateRule],
    plan: TrainingPlan,
    device: torch.device | str,
    options: EngineOptions,
    budget: float = 1.0,
    most: int = 10,
) -> float:
    """Time the first steps of a training, after one step to warm up; median of what fits the budget.

    Args:
        task: What to learn.
        data: Its data.
        rules: One rule per member.
        plan: The training; only its first steps are made.
        device: Where to train.
        options: How to train.
        budget: Seconds to spend on timed steps (at least one is made).
        most: Most steps to time.
    """
    train = data.train.to(device, torch.float32)
    with computing_in(options.precision):
        lockstep = _Lockstep(task, train, train, list(rules), plan, torch.float32, options)
        return lockstep.time_steps(budget, most)


def _train(
    task: Task,
    data: TaskData,
    train: Split,
    scored: Split,
    rules: list[UpdateRule],
    plan: TrainingPlan,
    keep_losses: bool,
    dtype: torch.dtype,
    options: EngineOptions,
) -> list[TrainingResult]:
    if not rules:
        return []
    try:
        with computing_in(options.precision):
            lockstep = _Lockstep(task, train, scored, rules, plan, dtype, options)
            if len(rules) <= lockstep.most_members:
                return lockstep.run(keep_losses)
            count = math.ceil(len(rules) / lockstep.most_members)
            del lockstep
    except Exception as error:
        # Never in silence: a failure that has nothing to do with size would make every training slow.
        warnings.warn(
            f"{len(rules)} members of task {task.name!r} could not be trained as one program, "
            f"smaller groups are tried: {type(error).__name__}: {error}",
            stacklevel=2,
        )
        if len(rules) == 1:
            return train_sequential(task, data, rules, plan, train.x.device, keep_losses, dtype=dtype)
        count = 2
    if train.x.is_cuda:
        torch.cuda.empty_cache()
    return [
        result
        for a, b in pairwise(len(rules) * k // count for k in range(count + 1))
        for result in _train(task, data, train, scored, rules[a:b], plan, keep_losses, dtype, options)
    ]


class _Lockstep:
    """Members that take each step together; those that have ended leave at the next look."""

    def __init__(
        self,
        task: Task,
        train: Split,
        scored: Split,
        rules: list[UpdateRule],
        plan: TrainingPlan,
        dtype: torch.dtype,
        options: EngineOptions,
    ) -> None:
        self._started = time.perf_counter()
        self._task, self._train, self._scored = task, train, scored
        self._plan, self._options = plan, options
        device = train.x.device
        model = initial_model(task, plan.seed).to(device, dtype)
        self._population = ModelPopulation.from_model(model, len(rules), _way(options.way, model, device))
        self._model = with_given_dropout(model)
        self._update = BatchedUpdate(
            rules, plan.total_steps, self._population.weights, options.compile, plan.steps
        )
        self._alive = torch.arange(len(rules), device=device)
        self._losses = torch.full((plan.steps, len(rules)), math.nan, device=device, dtype=dtype)
        self._seen = torch.empty(0, len(rules), dtype=dtype)
        self._ended: dict[int, tuple[Outcome, str, int]] = {}
        self._parts: list[tuple[int, int, ModelPopulation, Tensor]] = []

    @property
    def most_members(self) -> int:
        """More members than this are trained in groups, one group after another."""
        weights = self._population.weights
        together = weights.is_cuda or self._plan.rung is not None
        if together or self._population.architecture.way == "loop":
            return len(weights)
        return members_in_cache(weights.shape[1], weights.element_size())

    def run(self, keep_losses: bool) -> list[TrainingResult]:
        """Train, score and report."""
        plan = self._plan
        every = self._options.check_every
        looks = {*range(every, plan.steps, every), plan.rung, plan.steps}
        for step, batch in enumerate(feed(self._task, self._train, plan, self._model)):
            self._step(step, batch)
            if step + 1 in looks:
                self._look(step + 1)
            if not len(self._alive):
                break
        scores = self._score()
        seconds = (time.perf_counter() - self._started) / self._losses.shape[1]
        results = []
        for i in range(self._losses.shape[1]):
            outcome, reason, steps = self._ended.get(i, ("ok", "", plan.steps))
            curve = self._seen[:steps, i].tolist()
            loss, metric = scores.get(i, (math.nan, math.nan))
            tail = tail_mean(curve, plan.window) if outcome == "ok" else math.nan
            kept = tuple(curve) if keep_losses else ()
            results.append(TrainingResult(outcome, reason, steps, tail, loss, metric, seconds, kept))
        return results

    def time_steps(self, budget: float, most: int) -> float:
        """Median seconds of up to ``most`` steps after the first one, within about ``budget`` seconds."""
        times: list[float] = []
        for step, batch in enumerate(feed(self._task, self._train, self._plan, self._model)):
            started = time.perf_counter()
            self._step(step, batch)
            if self._train.x.is_cuda:
                torch.cuda.synchronize(self._train.x.device)
            times.append(time.perf_counter() - started)
            if len(times) > most or (len(times) > 1 and sum(times[1:]) >= budget):
                break
        return statistics.median(times[1:] or times)

    def _step(self, step: int, batch: Minibatch) -> None:
        if not self._parts:
            self._split(batch.x)
        losses = []
        for start, stop, part, gradients in self._parts:
            losses.append(losses_and_gradients(part, self._task.loss, *batch, gradients))
            self._update.step(part.weights, gradients, step, start, stop)
        found = (losses[0] if len(losses) == 1 else torch.cat(losses)).to(self._losses.dtype)
        if len(found) == self._losses.shape[1]:
            self._losses[step] = found
        else:
            self._losses[step].index_copy_(0, self._alive, found)

    def _split(self, x: Tensor) -> None:
        """Cut the population into parts of about equal size whose activations fit the cache."""
        members = len(self._population)
        at_once = members_at_once(self._model, x) if self._population.architecture.way != "loop" else 1
        count = math.ceil(members / at_once)
        bounds = [members * k // count for k in range(count + 1)]
        # One after another they use the same memory for their gradients.
        gradients = torch.empty_like(self._population.weights[: -(-members // count)])
        self._parts = [(a, b, self._population.part(a, b), gradients[: b - a]) for a, b in pairwise(bounds)]

    def _look(self, done: int) -> None:
        """Copy the losses to the host; members that diverged since the last look, or are to stop, leave."""
        plan = self._plan
        self._seen = torch.cat([self._seen, self._losses[len(self._seen) : done].cpu()])
        bad = ~(self._seen <= plan.max_loss)
        alive = self._alive.tolist()
        for i in alive:
            if bad[:, i].any():
                first = int(bad[:, i].int().argmax())
                self._ended[i] = ("diverged", bad_loss(float(self._seen[first, i]), first), first)
        if done == plan.rung:
            curves = [[] if i in self._ended else self._seen[:, i].tolist() for i in range(bad.shape[1])]
            for i in set(alive) - set(better_half(curves, plan.window)) - set(self._ended):
                self._ended[i] = ("stopped", STOPPED, done)
        keep = [k for k, i in enumerate(alive) if i not in self._ended]
        if len(keep) < len(alive):
            index = torch.tensor(keep, dtype=torch.int64, device=self._alive.device)
            self._alive, self._population = self._alive[index], self._population[index]
            self._update.select(index)
            self._parts = []

    def _score(self) -> dict[int, tuple[float, float]]:
        if not len(self._alive):
            return {}
        columns = evaluate_population(self._population, self._task, self._scored)
        losses, metrics = (column.tolist() for column in columns)
        scores = {}
        for i, loss, metric in zip(self._alive.tolist(), losses, metrics, strict=True):
            if math.isfinite(loss):
                scores[i] = (loss, metric)
            else:
                self._ended[i] = ("diverged", NOT_FINITE, self._plan.steps)
        return scores


def _way(wanted: Way | Literal["auto"], model: nn.Module, device: torch.device) -> Way | Literal["auto"]:
    if wanted == "auto" and device.type == "cuda" and any(isinstance(m, nn.Conv2d) for m in model.modules()):
        return "vmap"  # cuDNN's grouped convolutions need no shifted copies
    return wanted
