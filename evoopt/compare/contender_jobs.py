"""What a comparison has workers do: train members of contenders, and measure what a step costs."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from evoopt.compare.contender import Member
from evoopt.compare.optimizer_classes import ClassMember, make_class_optimizer, signature_defaults
from evoopt.compare.speed import smooth_curve
from evoopt.export.classes import from_rule
from evoopt.jobs.no_score import with_metric
from evoopt.jobs.rule_worker import EngineName, sized
from evoopt.optim.groups import matrix_groups
from evoopt.optim.rule import UpdateRule
from evoopt.tasks import Task, TaskData
from evoopt.training.engine import train
from evoopt.training.plan import TrainingPlan, TrainingResult
from evoopt.training.sequential import Stepper, evolved_optimizer, train_sequential
from evoopt.training.streams import initial_model

_COST_STEPS, _COST_ROUNDS = 5, 9


@dataclass(frozen=True)
class ContenderChunk:
    """Members of contenders trained together on one task from one seed.

    Attributes:
        task: Task name.
        members: Rules, or a single optimizer class.
        plan: What to do; ``batch_size`` 0 stands for the task's own. Only a plan that scores on the test
            part opens it.
        engine: How rules are trained.
        curves: Whether results carry learning curves, see `evoopt.compare.speed.smooth_curve`.
    """

    task: str
    members: tuple[Member, ...]
    plan: TrainingPlan
    engine: EngineName
    curves: bool = False

    def alone(self) -> list[ContenderChunk]:
        """The same for each member alone."""
        return [replace(self, members=(member,)) for member in self.members]

    def work(self, task: Task, data: TaskData, device: str) -> list[TrainingResult]:
        """Train; smooth curves travel in place of all losses."""
        plan, curves = sized(self.plan, task), self.curves
        if plan.split == "test":
            data = replace(data, test=data.test.unsealed())
        if isinstance(self.members[0], ClassMember):
            results = train_sequential(
                task, data, self.members, plan, device, curves, make_optimizer=make_class_optimizer
            )
        else:
            rules = [member for member in self.members if isinstance(member, UpdateRule)]
            results = train(task, data, rules, plan, device=device, engine=self.engine, keep_losses=curves)
        return [
            replace(result, losses=smooth_curve(result.losses, plan.steps) if result.outcome == "ok" else ())
            for result in map(with_metric, results)
        ]


@dataclass(frozen=True)
class Cost:
    """What a member costs on a task's model.

    Attributes:
        step_us: Wall time of one optimizer step in microseconds, the least of several measurements in turn
            with the other members; of a rule, that of the class that exporting it gives.
        state_bytes: Size of its state.
        parameters: Number of weights that are trained.
        test_size: Examples in the task's test part.
    """

    step_us: float
    state_bytes: int
    parameters: int
    test_size: int


@dataclass(frozen=True)
class CostProbe:
    """Asks what an optimizer step costs on a task's model, per member."""

    task: str
    members: tuple[Member, ...]

    def work(self, task: Task, data: TaskData, device: str) -> list[Cost]:
        """Measure."""
        setups = []
        for member in self.members:
            model = initial_model(task, 0).to(device)
            for parameter in trainable(model):
                parameter.grad = torch.full_like(parameter, 1e-3)
            setups.append((model, as_taken_away(model, member)))
        times: list[list[float]] = [[] for _ in setups]
        for _ in range(_COST_ROUNDS):
            for of_member, (_, optimizer) in zip(times, setups, strict=True):
                optimizer.step()
                _synchronize(device)
                start = time.perf_counter()
                for _ in range(_COST_STEPS):
                    optimizer.step()
                _synchronize(device)
                of_member.append((time.perf_counter() - start) / _COST_STEPS * 1e6)
        return [
            Cost(min(of_member), state_bytes(opt), sum(p.numel() for p in trainable(model)), len(data.test))
            for of_member, (model, opt) in zip(times, setups, strict=True)
        ]


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that an optimizer moves; of others nothing is kept."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def as_taken_away(model: nn.Module, member: Member) -> Stepper:
    """The optimizer of a model that a member stands for; of a rule, the class that exporting it gives."""
    if isinstance(member, ClassMember):
        return make_class_optimizer(model, member, 1000)
    if not member.terms:  # it has no class
        return evolved_optimizer(model, member, 1000)
    cls = from_rule(member)
    params = matrix_groups(model, member) if member.tells_matrices_apart else model.parameters()
    arguments = {"total_steps": 1000} if "total_steps" in signature_defaults(cls) else {}
    optimizer: Stepper = cls(params, **arguments)
    return optimizer


def state_bytes(optimizer: Any) -> int:
    """Size of an optimizer's state."""
    state = getattr(optimizer, "optimizer", optimizer).state
    return sum(
        v.numel() * v.element_size()
        for s in state.values()
        for v in s.values()
        if isinstance(v, torch.Tensor)
    )


def _synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
