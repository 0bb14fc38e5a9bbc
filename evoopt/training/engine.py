"""Chooses a training engine by timing, and runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from evoopt.errors import one_line
from evoopt.execution.device import raise_if_failed
from evoopt.optim.rule import UpdateRule
from evoopt.tasks.task import Task, TaskData
from evoopt.training.batched import EngineOptions, seconds_per_step, train_batched
from evoopt.training.plan import TrainingPlan, TrainingResult

EngineName = Literal["batched", "sequential"]
"""``batched``: all members in one program; ``sequential``: one member after another at every step, which
suits large convolutional models on a CPU. They round differently."""


def train(
    task: Task,
    data: TaskData,
    rules: Sequence[UpdateRule],
    plan: TrainingPlan,
    device: str = "cpu",
    engine: Literal["auto", "batched", "sequential"] = "auto",
    keep_losses: bool = False,
    options: EngineOptions | None = None,
) -> list[TrainingResult]:
    """Train one model per rule, all from the plan's seed.

    Args:
        task: What to learn.
        data: Its data.
        rules: One rule per member.
        plan: Steps, seed, batch size and so on.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        engine: How to train; ``"auto"`` asks `choose_engine`, so that rounding then depends on its timing.
        keep_losses: Whether results carry the loss of every step.
        options: Details of the computation.

    Returns:
        One result per rule, in order.

    Raises:
        SealedTestError: The plan asks for test data that is sealed.
        EvooptError: Options that do not fit the device.
    """
    if engine == "auto":
        engine = choose_engine(task, data, rules, plan, device, options)[0]
    options = _options(engine, options)
    return train_batched(task, data, rules, plan, device, keep_losses, options=options)


def choose_engine(
    task: Task,
    data: TaskData,
    rules: Sequence[UpdateRule],
    plan: TrainingPlan,
    device: str = "cpu",
    options: EngineOptions | None = None,
) -> tuple[EngineName, dict[str, Any]]:
    """Time a few steps of each engine and name the faster one.

    Args:
        task: What to learn.
        data: Its data.
        rules: Members of one unit of work.
        plan: The training they are meant for.
        device: Where to train.
        options: Details of the computation.

    Returns:
        The name, and the measurements: milliseconds per member and step by engine (or the error that
        prevents it), number of members, device.
    """
    measured: dict[str, Any] = {"members": len(rules), "device": device}
    times: dict[EngineName, float] = {}
    names: tuple[EngineName, ...] = ("batched", "sequential")
    for name in names:
        # One by one the cost of a member does not depend on their number.
        members = rules if name == "batched" else rules[:2]
        try:
            seconds = seconds_per_step(task, data, members, plan, device, _options(name, options))
        except Exception as error:
            raise_if_failed(error)
            measured[name] = one_line(error)
            continue
        times[name] = seconds / max(1, len(members))
        measured[f"{name}_ms"] = round(times[name] * 1e3, 4)
    return min(times, key=lambda name: times[name]) if times else "sequential", measured


def _options(engine: EngineName, options: EngineOptions | None) -> EngineOptions:
    options = options or EngineOptions()
    return replace(options, way="loop") if engine == "sequential" else options
