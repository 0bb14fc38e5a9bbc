"""A phase of training: some steps for a population whose weights and moments live on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from evoopt.errors import EvooptError
from evoopt.optim.evolved import EvolvedOptimizer
from evoopt.optim.groups import matrix_groups
from evoopt.optim.rule import UpdateRule
from evoopt.tasks.task import Split, Task
from evoopt.training.batched_update import BatchedUpdate
from evoopt.training.dropout import with_given_dropout
from evoopt.training.lockstep import Lockstep
from evoopt.training.members import Members
from evoopt.training.minibatches import load_minibatches
from evoopt.training.plan import PhasePlan as PhasePlan
from evoopt.training.population import Architecture, ModelPopulation
from evoopt.training.population_update import MixedUpdate, is_plain, kept_layouts
from evoopt.training.sequential import plain_loop

PhaseEngine = Literal["batched", "sequential", "reference"]
"""``batched``: all members as one program; ``sequential``: one member after another at every step, which
suits larger convolutional models on a CPU; ``reference``: a plain loop with an optimizer of torch for each
member."""


def train_phase(
    task: Task, train: Split, members: Members, plan: PhasePlan, engine: PhaseEngine = "batched"
) -> Tensor:
    """Train all members; weights, buffers, moments and step counts change in place.

    A member that diverges goes on with what it has; its losses tell. Readouts of rules are left out: what
    lives on are the last weights.

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
        losses = _together(task, train, members, plan, engine == "sequential")
    members.steps = tuple(n + plan.steps for n in members.steps)
    if not plan.keep_moments:
        members.m.zero_()
        members.v.zero_()
        members.stages = {}
        members.steps = (0,) * len(members)
    return losses


def _together(task: Task, train: Split, members: Members, plan: PhasePlan, one_by_one: bool) -> Tensor:
    population, given = members.population, members.population.architecture
    loop = given.manner._replace(way="loop")
    architecture = Architecture.of(given.model, loop) if one_by_one or given.way == "loop" else given
    rules, plans = _without_readout(members.rules), [plan.single(seed) for seed in plan.seeds]
    # Ways may store kernels in different order; where they do not, these are the members' own tensors.
    before = (population.weights, members.m, members.v)
    weights, m, v = (given.layout.rows_in(architecture.layout, rows) for rows in before)
    total_steps, moments = plans[0].total_steps, (m, v)
    update: BatchedUpdate | MixedUpdate
    if is_plain(rules):
        update = BatchedUpdate(rules, total_steps, weights, "auto", plan.steps, moments, members.steps)
    else:
        update = MixedUpdate(rules, architecture, weights, total_steps, "auto", plan.steps, members.steps)
        stacks = _kept(members, rules)
        for kind, name, places, view in update.state():
            view.copy_(stacks[kind][name][places])
    trained = ModelPopulation(architecture, weights, population.state, population.rates)
    lockstep = Lockstep(task, train, trained, update, plans)
    for step, batch in lockstep.minibatches():
        lockstep.step(step, batch)
    for old, rows in zip(before, (weights, m, v), strict=True):
        old.copy_(architecture.layout.rows_in(given.layout, rows))
    if isinstance(update, MixedUpdate):
        for kind, name, places, view in update.state():
            stacks[kind][name][places] = view
    return lockstep.losses.cpu()


def _without_readout(rules: Sequence[UpdateRule]) -> list[UpdateRule]:
    return [rule if rule.readout == "last" else replace(rule, readout="last") for rule in rules]


def _kept(members: Members, rules: Sequence[UpdateRule]) -> dict[str, dict[str, Tensor]]:
    """All that members keep, as views ``[P, ...]`` by kind and parameter; with zeros for what is new."""
    layout = members.population.architecture.layout
    for kind, own in (layouts := kept_layouts(rules, layout)).items():
        if kind not in ("exp_avg", "exp_avg_sq") and kind not in members.stages:
            members.stages[kind] = members.m.new_zeros(len(members), own.size)
    views = {"exp_avg": layout.views(members.m), "exp_avg_sq": layout.views(members.v)}
    return {
        **views,
        **{kind: layouts[kind].views(x) for kind, x in members.stages.items() if kind in layouts},
    }


def _reference(task: Task, train: Split, members: Members, plan: PhasePlan) -> Tensor:
    population = members.population
    rules = _without_readout(members.rules)
    kept = _kept(members, rules)
    losses = torch.empty(plan.steps, len(members), dtype=population.weights.dtype)
    for i in range(len(members)):
        model = with_given_dropout(population.member(i)).to(population.device)
        parameters: dict[str, Tensor] = dict(model.named_parameters())
        moments = {kind: {name: x[i] for name, x in views.items()} for kind, views in kept.items()}
        one = plan.single(plan.seeds[0] if plan.shared else plan.seeds[i])
        optimizer = reference_optimizer(model, rules[i], one.total_steps)
        if members.steps[i]:
            _go_on(optimizer, parameters, moments, members.steps[i])
        curve: list[float] = []
        plain_loop(task.loss, model, optimizer, load_minibatches(task, train, [one], model), curve)
        losses[:, i] = torch.tensor(curve, dtype=losses.dtype)
        with torch.no_grad():
            tensors = {**parameters, **dict(model.named_buffers())}
            for name, stack in {**population.parameters, **population.state}.items():
                stack[i].copy_(tensors[name])
            for kind, views in moments.items():
                for name, view in views.items():
                    view.copy_(optimizer.state[parameters[name]].get(kind, torch.zeros(())))
    return losses


def _go_on(
    optimizer: Optimizer, parameters: dict[str, Tensor], moments: dict[str, dict[str, Tensor]], steps: int
) -> None:
    for name in moments["exp_avg"]:
        state = {kind: views[name].clone() for kind, views in moments.items() if name in views}
        optimizer.state[parameters[name]] = {"step": torch.tensor(float(steps)), **state}
    for group in optimizer.param_groups:
        group["schedule_step"] = steps


def reference_optimizer(model: nn.Module, rule: UpdateRule, total_steps: int) -> Optimizer:
    """`torch.optim.Adam` for a rule that is Adam, else the rule's own optimizer."""
    plain = replace(rule, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8).canonical()
    trained = [p for p in model.parameters() if p.requires_grad]
    if rule.tells_matrices_apart:
        return EvolvedOptimizer(matrix_groups(model, rule), rule, total_steps)
    if plain == UpdateRule((("adam", 1.0),)).canonical():
        return torch.optim.Adam(trained, lr=rule.lr, betas=(rule.beta1, rule.beta2), eps=rule.eps)
    return EvolvedOptimizer(trained, rule, total_steps)
