"""A phase of training: some steps for a population whose weights and moments live on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from evoopt.errors import EvooptError
from evoopt.optim.evolved import EvolvedOptimizer
from evoopt.optim.rule import UpdateRule
from evoopt.tasks.task import Split, Task
from evoopt.training.dropout import DropoutDraws, give, with_given_dropout
from evoopt.training.feed import Minibatch, feed
from evoopt.training.forward import losses_and_gradients
from evoopt.training.members import Members
from evoopt.training.memory import members_at_once
from evoopt.training.plan import TrainingPlan
from evoopt.training.population import Architecture, ModelPopulation
from evoopt.training.streams import augmentation_generator, dropout_generator, minibatches
from evoopt.training.update import BatchedUpdate

PhaseEngine = Literal["batched", "sequential", "reference"]
"""``batched``: all members as one program; ``sequential``: one member after another at every step, which
suits larger convolutional models on a CPU; ``reference``: a plain loop with an optimizer of torch for each
member."""


@dataclass(frozen=True)
class PhasePlan:
    """What a phase does.

    Attributes:
        steps: Optimizer steps.
        batch_size: Minibatch size.
        seeds: One seed, from which all members see the same minibatches, augmentations and dropout numbers;
            or one per member.
        drop_last: Whether an epoch's incomplete last minibatch is left out.
        total_steps: Length of the rules' schedule, ``steps`` by default.
        keep_moments: Whether the moments live on after the phase; otherwise they are zero then.
    """

    steps: int
    batch_size: int
    seeds: tuple[int, ...]
    drop_last: bool = True
    total_steps: int | None = None
    keep_moments: bool = True

    @property
    def shared(self) -> bool:
        """Whether all members see the same data."""
        return len(self.seeds) == 1

    def single(self, seed: int) -> TrainingPlan:
        """The plan of a member that draws from ``seed``."""
        return TrainingPlan(self.steps, seed, self.batch_size, self.drop_last)


def train_phase(
    task: Task, train: Split, members: Members, plan: PhasePlan, engine: PhaseEngine = "batched"
) -> Tensor:
    """Train all members; weights, buffers, moments and step counts change in place.

    A member that diverges goes on with what it has; its losses tell.

    Args:
        task: What to learn.
        train: Training split, on the members' device.
        members: Who is trained.
        plan: For how long, on which data.
        engine: How; engines agree up to rounding.

    Returns:
        Batch losses ``[steps, P]`` on the CPU.

    Raises:
        EvooptError: Neither one seed nor one per member.
    """
    if not plan.shared and len(plan.seeds) != len(members):
        raise EvooptError(f"{len(members)} members need 1 or {len(members)} seeds, not {len(plan.seeds)}")
    if engine == "reference":
        losses = _reference(task, train, members, plan)
    else:
        losses = _together(task, train, members, plan, engine)
    members.steps = tuple(n + plan.steps for n in members.steps)
    if not plan.keep_moments:
        members.m.zero_()
        members.v.zero_()
        members.steps = (0,) * len(members)
    return losses


def _together(task: Task, train: Split, members: Members, plan: PhasePlan, engine: PhaseEngine) -> Tensor:
    given = members.population.architecture.layout
    population = _one_by_one(members.population) if engine == "sequential" else members.population
    own, weights = population.architecture.layout, population.weights
    moments = (given.rows_in(own, members.m), given.rows_in(own, members.v))
    update = BatchedUpdate(
        members.rules, plan.total_steps or plan.steps, weights, "auto", plan.steps, moments, members.steps
    )
    model = with_given_dropout(population.member(0)).to(weights.device)
    losses = torch.empty(plan.steps, len(members), device=weights.device, dtype=weights.dtype)
    parts: list[tuple[int, int, ModelPopulation, Tensor]] = []
    for step, batch in enumerate(_feed(task, train, plan, model)):
        if not parts:
            parts = _parts(population, model, batch.x if plan.shared else batch.x[0])
        for a, b, part, gradients in parts:
            theirs = batch if plan.shared else _of(batch, a, b)
            losses[step, a:b] = losses_and_gradients(part, task.loss, *theirs, gradients, plan.shared)
            update.step(part.weights, gradients, step, a, b)
    if own != given:
        members.population.weights.copy_(own.rows_in(given, weights))
        members.m.copy_(own.rows_in(given, moments[0]))
        members.v.copy_(own.rows_in(given, moments[1]))
    return losses.cpu()


def _one_by_one(population: ModelPopulation) -> ModelPopulation:
    """The same members run one after another; their kernels may lie in memory in another order."""
    old = population.architecture
    architecture = Architecture.of(old.model, "loop")
    weights = old.layout.rows_in(architecture.layout, population.weights)
    return ModelPopulation(architecture, weights, population.state, population.rates)


def _parts(
    population: ModelPopulation, model: nn.Module, x: Tensor
) -> list[tuple[int, int, ModelPopulation, Tensor]]:
    """Parts of about equal size whose activations fit the cache, with memory for their gradients."""
    members = len(population)
    at_once = 1 if population.architecture.way == "loop" else members_at_once(model, x)
    count = -(-members // at_once)
    bounds = [members * k // count for k in range(count + 1)]
    gradients = torch.empty_like(population.weights[: -(-members // count)])
    return [(a, b, population.part(a, b), gradients[: b - a]) for a, b in pairwise(bounds)]


def _of(batch: Minibatch, a: int, b: int) -> Minibatch:
    return Minibatch(batch.x[a:b], batch.y[a:b], {name: t[a:b] for name, t in batch.uniform.items()})


def _feed(task: Task, train: Split, plan: PhasePlan, model: nn.Module) -> Iterator[Minibatch]:
    if plan.shared:
        yield from feed(task, train, plan.single(plan.seeds[0]), model)
        return
    plans = [plan.single(seed) for seed in plan.seeds]
    orders = [minibatches(len(train), one) for one in plans]
    augmenting = [augmentation_generator(one) for one in plans]
    draws: list[DropoutDraws] = []
    for one in plans:
        draws.append(DropoutDraws(model, dropout_generator(one), draws[0] if draws else None))
    for batch in zip(*orders, strict=True):
        index = torch.stack(batch).to(train.x.device)
        x, y = train.x[index], train.y[index]
        if task.augment is not None:
            x = torch.stack([task.augment(own, g) for own, g in zip(x, augmenting, strict=True)])
        drawn = [one.draw(own) for own, one in zip(x, draws, strict=True)]
        yield Minibatch(x, y, {name: torch.stack([d[name] for d in drawn]) for name in drawn[0]})


def _reference(task: Task, train: Split, members: Members, plan: PhasePlan) -> Tensor:
    population = members.population
    layout = population.architecture.layout
    losses = torch.empty(plan.steps, len(members), dtype=population.weights.dtype)
    for i in range(len(members)):
        model = with_given_dropout(population.member(i)).to(population.device).train()
        own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        rows = {"exp_avg": members.m[i : i + 1], "exp_avg_sq": members.v[i : i + 1]}
        moments = {name: {n: t[0] for n, t in layout.views(row).items()} for name, row in rows.items()}
        optimizer = reference_optimizer(model, members.rules[i], plan.total_steps or plan.steps)
        if members.steps[i]:
            _go_on(optimizer, own, moments, members.steps[i])
        seed = plan.seeds[0] if plan.shared else plan.seeds[i]
        for step, batch in enumerate(feed(task, train, plan.single(seed), model)):
            give(model, batch.uniform)
            loss = task.loss(model(batch.x), batch.y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses[step, i] = loss.detach()
        with torch.no_grad():
            for name, stack in {**population.parameters, **population.state}.items():
                stack[i].copy_(own[name])
            for kind, views in moments.items():
                for name, view in views.items():
                    view.copy_(optimizer.state[own[name]].get(kind, torch.zeros(())))
    return losses


def _go_on(
    optimizer: Optimizer, parameters: dict[str, Tensor], moments: dict[str, dict[str, Tensor]], steps: int
) -> None:
    for name in moments["exp_avg"]:
        state = {kind: views[name].clone() for kind, views in moments.items()}
        optimizer.state[parameters[name]] = {"step": torch.tensor(float(steps)), **state}
    for group in optimizer.param_groups:
        group["schedule_step"] = steps


def reference_optimizer(model: nn.Module, rule: UpdateRule, total_steps: int) -> Optimizer:
    """`torch.optim.Adam` for a rule that is Adam, else the rule's own optimizer."""
    plain = replace(rule, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8).canonical()
    trained = [p for p in model.parameters() if p.requires_grad]
    if plain == UpdateRule((("adam", 1.0),)).canonical():
        return torch.optim.Adam(trained, lr=rule.lr, betas=(rule.beta1, rule.beta2), eps=rule.eps)
    return EvolvedOptimizer(trained, rule, total_steps)
