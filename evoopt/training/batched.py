"""Trains a population in lockstep as one batched program, with the results of the sequential reference."""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError, EvooptWarning, one_line
from evoopt.execution.device import raise_if_failed
from evoopt.execution.place import Precision, check_device
from evoopt.execution.precision import computing_in
from evoopt.optim.rule import UpdateRule
from evoopt.tasks.task import Split, Task, TaskData
from evoopt.training.batched_update import Compile
from evoopt.training.forward import evaluate_population
from evoopt.training.halving import STOPPED, better_half
from evoopt.training.lockstep import Lockstep
from evoopt.training.memory import members_in_cache
from evoopt.training.minibatches import scored_split
from evoopt.training.plan import TrainingPlan, TrainingResult
from evoopt.training.population import Manner, ModelPopulation, Way
from evoopt.training.population_update import population_update
from evoopt.training.sequential import NOT_FINITE, bad_loss, tail_mean, train_sequential
from evoopt.training.streams import initial_model
from evoopt.training.trial_run import find_manner

_WARM_UP = 3  # steps: libraries choose their algorithms, and the third is the first from a recording
_MANNERS: WeakKeyDictionary[Task, dict[tuple[Hashable, ...], Manner]] = WeakKeyDictionary()


@dataclass(frozen=True)
class EngineOptions:
    """How a population is computed; what it computes stays the same up to rounding.

    Attributes:
        way: How forward passes run, see `Way`; ``auto`` is ``stacked`` for models it knows, else ``vmap``.
        compile: Whether the update is compiled.
        precision: ``tf32`` (on CUDA) and ``bf16`` (mixed) are faster and round more; None is that of the
            context around, see `computing_in`.
        check_every: Steps between two looks at who has diverged; each waits for the device.
    """

    way: Way | Literal["auto"] = "auto"
    compile: Compile = "auto"
    precision: Precision | None = None
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
    if options.precision:
        check_device(device, options.precision)
    scored = scored_split(data, plan).to(device, dtype)
    training = _Training(task, data.train.to(device, dtype), plan, dtype, options)

    def alone(rule: UpdateRule) -> list[TrainingResult]:
        return train_sequential(task, data, [rule], plan, device, dtype=dtype, keep_losses=True)

    results = training.in_groups(list(rules), scored, alone)
    return results if keep_losses else [replace(result, losses=()) for result in results]


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
    """Time the first steps of a training after some to warm up.

    The median of what fits the budget; on CUDA, where no step is waited for, the mean.

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
    times: list[float] = []
    with computing_in(options.precision):
        lockstep = _Training(task, train, plan, torch.float32, options).begin(rules)
        if train.x.is_cuda:
            return _mean_seconds(lockstep, train.x.device, budget, most)
        for step, batch in lockstep.minibatches():
            started = time.perf_counter()
            lockstep.step(step, batch)
            times.append(time.perf_counter() - started)
            if len(times) > most or (len(times) > 1 and sum(times[1:]) >= budget):
                break
    return statistics.median(times[1:] or times)


def _mean_seconds(lockstep: Lockstep, device: torch.device, budget: float, most: int) -> float:
    started, made = 0.0, 0
    for step, batch in lockstep.minibatches():
        if step == _WARM_UP:
            torch.cuda.synchronize(device)
            started = time.perf_counter()
        lockstep.step(step, batch)
        made = step + 1 - _WARM_UP
        if made >= most or (made > 0 and time.perf_counter() - started >= budget):
            break
    torch.cuda.synchronize(device)
    return (time.perf_counter() - started) / max(1, made)


@dataclass(frozen=True)
class _Training:
    """What groups of members that start now have in common."""

    task: Task
    train: Split
    plan: TrainingPlan
    dtype: torch.dtype
    options: EngineOptions

    def in_groups(
        self, rules: list[UpdateRule], scored: Split, alone: Callable[[UpdateRule], list[TrainingResult]]
    ) -> list[TrainingResult]:
        """Train all members at once, or in groups if they are too many or that fails."""
        if not rules:
            return []
        try:
            with computing_in(self.options.precision):
                started = time.perf_counter()
                lockstep = self.begin(rules)
                most = self._most_members(lockstep.population)
                if len(rules) <= most:
                    results = self._finish(lockstep, scored)
                    seconds = (time.perf_counter() - started) / len(rules)
                    return [replace(result, seconds=seconds) for result in results]
                count = math.ceil(len(rules) / most)
                del lockstep
        except EvooptError:
            raise
        except Exception as error:
            raise_if_failed(error)
            # Never in silence: a failure that has nothing to do with size would make every training slow.
            warnings.warn(
                f"{len(rules)} members of task {self.task.name!r} could not be trained as one program, "
                f"smaller groups are tried: {one_line(error)}",
                EvooptWarning,
                stacklevel=2,
            )
            if len(rules) == 1:
                with computing_in(self.options.precision):
                    return alone(rules[0])
            count = 2
        if self.train.x.is_cuda:
            torch.cuda.empty_cache()
        groups = pairwise(len(rules) * k // count for k in range(count + 1))
        return [result for a, b in groups for result in self.in_groups(rules[a:b], scored, alone)]

    def begin(self, rules: Sequence[UpdateRule]) -> Lockstep:
        """Copies of the seed's model, one per rule, that have not made a step."""
        device, plan = self.train.x.device, self.plan
        model = initial_model(self.task, plan.seed).to(device, self.dtype)
        population = ModelPopulation.from_model(model, len(rules), self._manner(model))
        update = population_update(
            rules,
            population.architecture,
            population.weights,
            plan.total_steps,
            self.options.compile,
            plan.steps,
        )
        return Lockstep(self.task, self.train, population, update, [plan])

    def _manner(self, model: nn.Module) -> Manner:
        """How the task's models run here, found out once."""
        device, way = self.train.x.device, self.options.way
        shapes = (self.train.x.shape[1:], self.train.y.shape[1:])
        mixed = torch.is_autocast_enabled(device.type)  # what runs in full precision need not run so
        known = _MANNERS.setdefault(self.task, {})
        if (key := (*shapes, device, self.dtype, mixed, way, self.plan.batch_size)) not in known:
            other = initial_model(self.task, self.plan.seed + 1).to(device, self.dtype)
            known[key] = find_manner(self.task, self.train, [model, other], self.plan.batch_size, way)
        return known[key]

    def _most_members(self, population: ModelPopulation) -> int:
        """More members than this are trained in groups, one group after another."""
        weights = population.weights
        if weights.is_cuda or self.plan.rung is not None or population.architecture.way == "loop":
            return len(weights)
        return members_in_cache(weights.shape[1], weights.element_size())

    def _finish(self, lockstep: Lockstep, scored: Split) -> list[TrainingResult]:
        """Train and score; members that diverged since the last look, or are to stop, leave at the next."""
        plan, every = self.plan, self.options.check_every
        looks = {*range(every, plan.steps, every), plan.rung, plan.steps}
        results = lockstep.ended
        losses = lockstep.losses[:0].cpu()
        for step, batch in lockstep.minibatches():
            lockstep.step(step, batch)
            if step + 1 in looks:
                losses = torch.cat([losses, lockstep.losses[len(losses) : step + 1].cpu()])
                gone = _diverged(losses, lockstep.alive, plan.max_loss)
                if step + 1 == plan.rung:
                    ended = {*results, *gone}
                    curves = [[] if i in ended else curve for i, curve in enumerate(losses.T.tolist())]
                    worse = set(lockstep.alive) - set(better_half(curves, plan.window)) - ended
                    gone |= dict.fromkeys(worse, TrainingResult.unsuccessful("stopped", STOPPED, step + 1))
                lockstep.drop(gone)
            if not lockstep.alive:
                break
        curves = lockstep.losses.T.tolist()
        scores: list[list[float]] = [[], []]
        if lockstep.alive:
            columns = evaluate_population(lockstep.readout(), self.task, scored)
            scores = [column.tolist() for column in columns]
        for i, loss, metric in zip(lockstep.alive, *scores, strict=True):
            if math.isfinite(loss):
                tail = tail_mean(curves[i], plan.window)
                results[i] = TrainingResult("ok", "", plan.steps, tail, loss, metric, seconds=0.0)
            else:
                results[i] = TrainingResult.unsuccessful("diverged", NOT_FINITE, plan.steps)
        return [
            replace(results[i], losses=tuple(curve[: results[i].steps])) for i, curve in enumerate(curves)
        ]


def _diverged(losses: Tensor, members: Sequence[int], max_loss: float) -> dict[int, TrainingResult]:
    """Results of those members whose losses ``[steps, P]`` went above the limit or are no numbers."""
    bad = ~(losses <= max_loss)
    first = {i: int(bad[:, i].int().argmax()) for i in members if bad[:, i].any()}
    return {
        i: TrainingResult.unsuccessful("diverged", bad_loss(float(losses[step, i]), step), step)
        for i, step in first.items()
    }
