"""What a comparison has workers do: train members from a seed, and measure what a step costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from evoopt.compare.contender import Member
from evoopt.compare.foreign import ForeignOptimizer, make_foreign
from evoopt.compare.speed import smooth_curve
from evoopt.jobs.rule_worker import Chunk, EngineProbe, WorkerSetup
from evoopt.execution.executor import Worker
from evoopt.export.classes import from_rule
from evoopt.optim.rule import UpdateRule
from evoopt.tasks import Task, TaskData, get_task, load_task_data
from evoopt.training.engine import choose_engine, train
from evoopt.training.plan import TrainingPlan, TrainingResult
from evoopt.training.sequential import Stepper, evolved_optimizer, train_sequential
from evoopt.training.streams import initial_model

_COST_STEPS, _COST_ROUNDS = 5, 9


@dataclass(frozen=True)
class Job:
    """Members trained on one task from one seed.

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


@dataclass(frozen=True)
class CostJob:
    """Asks what an optimizer step costs on a task's model, per member."""

    task: str
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Cost:
    """What a member costs on a task's model.

    Attributes:
        step_us: Wall time of one optimizer step in microseconds, the least of several measurements in turn
            with the other members; of a rule, that of the class that exporting it gives.
        state_bytes: Size of its state.
        parameters: Number of weights.
        test_size: Examples in the task's test part.
    """

    step_us: float
    state_bytes: int
    parameters: int
    test_size: int


def make_worker(setup: WorkerSetup) -> Worker:
    """Load the tasks with sealed test parts and return the function that handles jobs.

    Raises:
        EvooptError: A task that cannot be loaded.
    """
    loaded: dict[str, tuple[bool, Task, TaskData]] = {}

    def load(name: str, final: bool) -> tuple[Task, TaskData]:
        if name not in loaded or loaded[name][0] != final:
            task = get_task(name)
            unseal = setup.data.unseal_test or final
            loaded[name] = final, task, load_task_data(task, replace(setup.data, unseal_test=unseal))
        return loaded[name][1:]

    def work(chunk: Job | CostJob | EngineProbe) -> Any:
        if isinstance(chunk, CostJob):
            return _costs(*load(chunk.task, final=False), chunk.members, setup.device)
        if isinstance(chunk, EngineProbe):
            task, data = load(chunk.chunk.task, final=False)
            return choose_engine(task, data, chunk.chunk.rules, _sized(task, chunk.chunk.plan), setup.device)
        task, data = load(chunk.task, final=chunk.plan.split == "test")
        return _train(task, data, chunk, setup.device)

    for name in setup.tasks:
        load(name, final=False)
    return work


def probe(job: Job) -> EngineProbe:
    """Ask for the faster engine for a job of rules."""
    rules = tuple(member for member in job.members if isinstance(member, UpdateRule))
    return EngineProbe(Chunk(job.task, rules, job.plan, "auto"))


def _train(task: Task, data: TaskData, job: Job, device: str) -> list[TrainingResult]:
    plan = _sized(task, job.plan)
    if isinstance(job.members[0], ForeignOptimizer):
        results = train_sequential(
            task, data, job.members, plan, device, job.curves, make_optimizer=make_foreign
        )
    else:
        rules = [member for member in job.members if isinstance(member, UpdateRule)]
        results = train(task, data, rules, plan, device=device, engine=job.engine, keep_losses=job.curves)
    return [
        replace(result, losses=smooth_curve(result.losses, plan.steps) if result.outcome == "ok" else ())
        for result in results
    ]


def _sized(task: Task, plan: TrainingPlan) -> TrainingPlan:
    return plan if plan.batch_size else replace(plan, batch_size=task.batch_size)


def _costs(task: Task, data: TaskData, members: Sequence[Member], device: str) -> list[Cost]:
    setups = []
    for member in members:
        model = initial_model(task, 0).to(device)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 1e-3)
        setups.append((model, _as_taken_away(model, member)))
    times: list[list[float]] = [[] for _ in members]
    for _ in range(_COST_ROUNDS):
        for own, (_, optimizer) in zip(times, setups, strict=True):
            optimizer.step()
            _synchronize(device)
            start = time.perf_counter()
            for _ in range(_COST_STEPS):
                optimizer.step()
            _synchronize(device)
            own.append((time.perf_counter() - start) / _COST_STEPS * 1e6)
    return [
        Cost(
            min(own),
            _state_bytes(optimizer),
            sum(p.numel() for p in model.parameters()),
            len(data.test),
        )
        for own, (model, optimizer) in zip(times, setups, strict=True)
    ]


def _as_taken_away(model: nn.Module, member: Member) -> Stepper:
    if isinstance(member, ForeignOptimizer):
        return make_foreign(model, member, 1000)
    if not member.terms:  # a rule that does nothing has no class
        return evolved_optimizer(model, member, 1000)
    arguments = {"total_steps": 1000} if member.cosine or member.warmup_steps else {}
    optimizer: Stepper = from_rule(member)(model.parameters(), **arguments)
    return optimizer


def _state_bytes(optimizer: Any) -> int:
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
