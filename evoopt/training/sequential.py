"""The reference: one model, one optimizer, a plain loop. Every faster engine is tested against it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

import torch
from torch import nn

from evoopt.optim.evolved import EvolvedOptimizer
from evoopt.optim.rule import UpdateRule
from evoopt.tasks.task import Split, Task, TaskData
from evoopt.training.dropout import give, with_given_dropout
from evoopt.training.halving import STOPPED, better_half
from evoopt.training.minibatches import Minibatch, load_minibatches, scored_split
from evoopt.training.plan import Outcome, TrainingPlan, TrainingResult
from evoopt.training.streams import initial_model

EVALUATION_BATCH = 1000
NOT_FINITE = "weights or outputs not finite at evaluation"


class Stepper(Protocol):
    """What the loop needs of an optimizer."""

    def zero_grad(self) -> Any:
        """Forget the gradients."""

    def step(self) -> Any:
        """Move the weights."""


MakeOptimizer = Callable[[nn.Module, Any, int], Stepper]
"""Makes a member's optimizer from its model, its rule and the length of the schedule in steps."""


def evolved_optimizer(model: nn.Module, rule: UpdateRule, total_steps: int) -> Stepper:
    """The optimizer that follows an update rule."""
    return EvolvedOptimizer(model.parameters(), rule, total_steps)


def train_sequential(
    task: Task,
    data: TaskData,
    rules: Sequence[Any],
    plan: TrainingPlan,
    device: torch.device | str = "cpu",
    keep_losses: bool = False,
    *,
    dtype: torch.dtype = torch.float32,
    make_optimizer: MakeOptimizer = evolved_optimizer,
) -> list[TrainingResult]:
    """Train one model per rule, one after another, all from the plan's seed.

    A batch loss that is NaN, infinite or above ``plan.max_loss`` (tested before the backward pass) or a
    RuntimeError in the optimizer's step is a divergence (Marfinetz 2025, published notebook); any other
    exception is a failure of that member alone.

    Args:
        task: What to learn.
        data: Its data.
        rules: One rule per member, or whatever ``make_optimizer`` takes in its place.
        plan: Steps, seed, batch size and so on.
        device: Where to train.
        keep_losses: Whether results carry the loss of every step.
        dtype: Floating-point type of weights and data.
        make_optimizer: Makes the members' optimizers; by default those that follow an `UpdateRule`.

    Returns:
        One result per rule, in order.

    Raises:
        SealedTestError: The plan asks for test data that is sealed.
    """
    train, scored = data.train.to(device, dtype), scored_split(data, plan).to(device, dtype)
    members = [_Member(task, train, scored, rule, plan, dtype, make_optimizer) for rule in rules]
    if plan.rung is not None:
        for member in members:
            member.advance(plan.rung)
        curves = [member.losses if member.ended is None else [] for member in members]
        for index in set(range(len(members))) - set(better_half(curves, plan.window)):
            members[index].end("stopped", STOPPED)
    return [member.finish(keep_losses) for member in members]


class _Member:
    """The training of one model, which can pause between steps."""

    def __init__(
        self,
        task: Task,
        train: Split,
        scored: Split,
        rule: Any,
        plan: TrainingPlan,
        dtype: torch.dtype,
        make_optimizer: MakeOptimizer,
    ) -> None:
        self.losses: list[float] = []
        self.ended: tuple[Outcome, str] | None = None
        self._seconds = 0.0
        self._task, self._train, self._scored, self._plan = task, train, scored, plan
        self._rule, self._dtype, self._make_optimizer = rule, dtype, make_optimizer
        self._model: nn.Module | None = None

    def advance(self, steps: int) -> None:
        """Train until ``steps`` steps are done, or the member ends."""
        started = time.perf_counter()
        try:
            if self._model is None:
                self._model = self._start()
            batches = islice(self._batches, steps - len(self.losses))
            plain_loop(self._task, self._model, self._optimizer, batches, self.losses, self._plan.max_loss)
        except Diverged as error:
            self.end("diverged", str(error))
        except Exception as error:
            self.end("failed", describe(error))
        self._seconds += time.perf_counter() - started

    def finish(self, keep_losses: bool) -> TrainingResult:
        """Train to the end and score."""
        if self.ended is None:
            self.advance(self._plan.steps)
        started = time.perf_counter()
        loss = metric = math.nan
        if self.ended is None and self._model is not None:
            try:
                loss, metric = evaluate(self._task, self._model, self._scored)
                if not math.isfinite(loss):
                    self.end("diverged", NOT_FINITE)
            except Exception as error:
                self.end("failed", describe(error))
        self._model = None
        steps, seconds = len(self.losses), self._seconds + time.perf_counter() - started
        if self.ended is None:
            tail = tail_mean(self.losses, self._plan.window)
            result = TrainingResult("ok", "", steps, tail, loss, metric, seconds)
        else:
            result = TrainingResult.unsuccessful(*self.ended, steps, seconds)
        return replace(result, losses=tuple(self.losses)) if keep_losses else result

    def end(self, outcome: Outcome, reason: str) -> None:
        """End the training without a score, unless it has ended already."""
        if self.ended is None:
            self.ended = (outcome, reason)

    def _start(self) -> nn.Module:
        plan = self._plan
        model = with_given_dropout(initial_model(self._task, plan.seed)).to(self._train.x.device, self._dtype)
        self._optimizer = self._make_optimizer(model, self._rule, plan.total_steps)
        self._batches = load_minibatches(self._task, self._train, [plan], model)
        return model


class Diverged(RuntimeError):
    """A training that cannot go on; the message says why."""


def plain_loop(
    task: Task,
    model: nn.Module,
    optimizer: Stepper,
    batches: Iterable[Minibatch],
    losses: list[float],
    max_loss: float | None = None,
) -> None:
    """Train one model with one optimizer: what every engine does, up to rounding.

    Args:
        task: Gives the loss.
        model: With given dropout; its weights change.
        optimizer: Moves them.
        batches: The data of each step.
        losses: The batch loss of each completed step is appended.
        max_loss: A larger batch loss, or NaN, is a divergence, found before the backward pass; with None the
            training goes on whatever the loss is.

    Raises:
        Diverged: See ``max_loss``; or a RuntimeError in the optimizer's step.
    """
    model.train()
    for batch in batches:
        give(model, batch.uniform)
        loss = task.loss(model(batch.x), batch.y)
        value = float(loss.detach())
        if max_loss is not None and not value <= max_loss:
            raise Diverged(bad_loss(value, len(losses)))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        try:
            optimizer.step()
        except RuntimeError as error:
            raise Diverged(f"optimizer step failed: {describe(error)}") from error
        losses.append(value)


@torch.no_grad()
def evaluate(task: Task, model: nn.Module, split: Split) -> tuple[float, float]:
    """Loss and metric of a model in evaluation mode on a split; ``(nan, nan)`` if a weight is not finite."""
    if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
        return math.nan, math.nan
    model.eval()
    outputs = torch.cat([model(x) for x in torch.split(split.x, EVALUATION_BATCH)])
    return float(task.loss(outputs, split.y)), float(task.metric(outputs, split.y))


def bad_loss(value: float, step: int) -> str:
    """Reason of a divergence at a 0-based step."""
    return f"batch loss {value:.6g} at step {step + 1}"


def tail_mean(losses: Sequence[float], window: int) -> float:
    """Mean of the last ``window`` losses; NaN without any."""
    tail = losses[-window:]
    return math.fsum(tail) / len(tail) if tail else math.nan


def describe(error: BaseException) -> str:
    """An exception in one line of at most 200 characters."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:200]
