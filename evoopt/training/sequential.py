"""The reference: one model, one optimizer, a plain loop. Every faster engine is tested against it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

import torch
from torch import nn

from evoopt.errors import one_line
from evoopt.execution.device import raise_if_failed
from evoopt.optim.evolved import EvolvedOptimizer
from evoopt.optim.groups import matrix_groups
from evoopt.optim.rule import UpdateRule
from evoopt.tasks.task import Split, Task, TaskData
from evoopt.training.dropout import give, with_given_dropout
from evoopt.training.forward import Loss
from evoopt.training.halving import STOPPED, better_half
from evoopt.training.minibatches import Minibatch, load_minibatches, scored_split
from evoopt.training.plan import Outcome, TrainingPlan, TrainingResult
from evoopt.training.streams import initial_model, own_draws, seed_draws

EVALUATION_BATCH = 1000
NOT_FINITE = "weights or outputs not finite at evaluation"


class Stepper(Protocol):
    """What the loop needs of an optimizer; one whose ``averaged()`` holds other weights is scored in it."""

    def zero_grad(self) -> Any:
        """Forget the gradients."""

    def step(self) -> Any:
        """Move the weights."""


MakeOptimizer = Callable[[nn.Module, Any, int], Stepper]
"""Makes a member's optimizer from its model, its rule and the length of the schedule in steps."""


def evolved_optimizer(model: nn.Module, rule: UpdateRule, total_steps: int) -> Stepper:
    """The optimizer that follows an update rule."""
    params = matrix_groups(model, rule) if rule.tells_matrices_apart else model.parameters()
    return EvolvedOptimizer(params, rule, total_steps)


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
    members = [_Member(task, train, scored, plan, dtype, make_optimizer, rule) for rule in rules]
    if plan.rung is not None:
        for member in members:
            member.advance(plan.rung)
        curves = [member.losses if member.ended is None else [] for member in members]
        for index in set(range(len(members))) - set(better_half(curves, plan.window)):
            members[index].ended = members[index].ended or ("stopped", STOPPED)
    results = [member.finish() for member in members]
    return results if keep_losses else [replace(result, losses=()) for result in results]


@dataclass
class _Member:
    """The training of one model, which can pause between steps."""

    task: Task
    train: Split
    scored: Split
    plan: TrainingPlan
    dtype: torch.dtype
    make_optimizer: MakeOptimizer
    rule: Any
    model: nn.Module | None = None
    losses: list[float] = field(default_factory=list)
    scores: tuple[float, float] = (math.nan, math.nan)
    ended: tuple[Outcome, str] | None = None
    seconds: float = 0.0

    def advance(self, steps: int, score: bool = False) -> None:
        """Train until ``steps`` steps are done, and score then; unless the member has ended or ends."""
        if self.ended is not None:
            return
        started = time.perf_counter()
        try:
            if self.model is None:
                self.model = self._begin()
            batches = islice(self._batches, steps - len(self.losses))
            plain_loop(self.task.loss, self.model, self._optimizer, batches, self.losses, self.plan.max_loss)
            if score:
                with getattr(self._optimizer, "averaged", nullcontext)():
                    self.scores = evaluate(self.task, self.model, self.scored)
                if not math.isfinite(self.scores[0]):
                    raise Diverged(NOT_FINITE)
        except Diverged as error:
            self.ended = ("diverged", str(error))
        except Exception as error:
            raise_if_failed(error)
            self.ended = ("failed", one_line(error))
        self.seconds += time.perf_counter() - started

    def finish(self) -> TrainingResult:
        """Train to the end, score and report."""
        self.advance(self.plan.steps, score=True)
        self.model, steps = None, len(self.losses)
        if self.ended is None:
            tail = tail_mean(self.losses, self.plan.window)
            result = TrainingResult("ok", "", steps, tail, *self.scores, self.seconds)
        else:
            result = TrainingResult.unsuccessful(*self.ended, steps, self.seconds)
        return replace(result, losses=tuple(self.losses))

    def _begin(self) -> nn.Module:
        plan = self.plan
        model = with_given_dropout(initial_model(self.task, plan.seed)).to(self.train.x.device, self.dtype)
        self._optimizer = self.make_optimizer(model, self.rule, plan.total_steps)
        self._batches = load_minibatches(self.task, self.train, [plan], model)
        return model


class Diverged(RuntimeError):
    """A training that cannot go on; the message says why."""


def plain_loop(
    loss: Loss,
    model: nn.Module,
    optimizer: Stepper,
    batches: Iterable[Minibatch],
    losses: list[float],
    max_loss: float | None = None,
) -> None:
    """Train one model with one optimizer: what every engine does, up to rounding.

    A weight that a step does not use has a gradient of zero there: its moments and its decay go on.

    Args:
        loss: Mean loss of ``(outputs, targets)``.
        model: With given dropout; its weights change.
        optimizer: Moves them.
        batches: The data of each step.
        losses: The batch loss of each completed step is appended.
        max_loss: A larger batch loss, or NaN, is a divergence, seen before the backward pass; with None the
            training goes on whatever the loss is.

    Raises:
        Diverged: See ``max_loss``; or a RuntimeError in the optimizer's step.
    """
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    with own_draws(device := _device(model)):
        for batch in batches:
            give(model, batch.uniform)
            if batch.seeds:
                seed_draws(batch.seeds[0], device)
            batch_loss = loss(model(batch.x), batch.y)
            value = float(batch_loss.detach())
            if max_loss is not None and not value <= max_loss:
                raise Diverged(bad_loss(value, len(losses)))
            optimizer.zero_grad()
            batch_loss.backward()  # type: ignore[no-untyped-call]
            for p in trained:
                if p.grad is None:
                    p.grad = torch.zeros_like(p)
            try:
                optimizer.step()
            except RuntimeError as error:
                raise Diverged(f"optimizer step failed: {one_line(error)}") from error
            losses.append(value)


@torch.no_grad()
def evaluate(task: Task, model: nn.Module, split: Split) -> tuple[float, float]:
    """Loss and metric of a model in evaluation mode on a split; ``(nan, nan)`` if a weight is not finite."""
    if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
        return math.nan, math.nan
    model.eval()
    with own_draws(split.x.device):
        seed_draws(0, split.x.device)
        outputs = torch.cat([model(x.clone()) for x in torch.split(split.x, EVALUATION_BATCH)])
        loss, metric = task.scores(outputs, split.y)
    return float(loss), float(metric)


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def bad_loss(value: float, step: int) -> str:
    """Reason of a divergence at a 0-based step."""
    return f"batch loss {value:.6g} at step {step + 1}"


def tail_mean(losses: Sequence[float], window: int) -> float:
    """Mean of the last ``window`` losses; NaN without any."""
    tail = losses[-window:]
    return math.fsum(tail) / len(tail) if tail else math.nan
