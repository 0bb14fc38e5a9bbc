"""What runs inside a worker: it loads the tasks once and trains chunks of rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from evoopt.execution import Worker
from evoopt.optim.rule import UpdateRule
from evoopt.tasks import DataOptions, get_task, load_task_data
from evoopt.training.engine import choose_engine, train
from evoopt.training.filters import reject_reason
from evoopt.training.plan import TrainingPlan, TrainingResult

EngineName = Literal["auto", "batched", "sequential"]


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker is created from.

    Attributes:
        tasks: Names of the tasks it may be asked to train on.
        data: How to load their data.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
    """

    tasks: tuple[str, ...]
    data: DataOptions
    device: str = "cpu"


@dataclass(frozen=True)
class Chunk:
    """Rules trained together on one task from one seed.

    Attributes:
        task: Task name.
        rules: The members' rules, in canonical form.
        plan: What to do; ``batch_size`` 0 stands for the task's own.
        engine: How to train them.
        descent_filter: Whether rules that cannot train anything are rejected first.
    """

    task: str
    rules: tuple[UpdateRule, ...]
    plan: TrainingPlan
    engine: EngineName
    descent_filter: bool = False


@dataclass(frozen=True)
class EngineProbe:
    """Asks a worker which engine is faster for a chunk; answered with its name and the measurements."""

    chunk: Chunk


def make_worker(setup: WorkerSetup) -> Worker:
    """Load the tasks and return the function that handles chunks.

    Raises:
        EvooptError: A task that cannot be loaded.
    """
    loaded = {}
    for name in setup.tasks:
        task = get_task(name)
        loaded[name] = task, load_task_data(task, setup.data)

    def work(chunk: Chunk | EngineProbe) -> list[TrainingResult] | tuple[str, dict[str, Any]]:
        probe = isinstance(chunk, EngineProbe)
        chunk = chunk.chunk if isinstance(chunk, EngineProbe) else chunk
        task, data = loaded[chunk.task]
        plan = chunk.plan
        if plan.batch_size == 0:
            plan = replace(plan, batch_size=task.batch_size)
        if probe:
            return choose_engine(task, data, chunk.rules, plan, setup.device)
        reasons = [_reject_reason(rule) if chunk.descent_filter else None for rule in chunk.rules]
        kept = [rule for rule, reason in zip(chunk.rules, reasons, strict=True) if reason is None]
        results = iter(train(task, data, kept, plan, device=setup.device, engine=chunk.engine))
        return [
            next(results) if reason is None else TrainingResult.unsuccessful("stopped", reason)
            for reason in reasons
        ]

    return work


# A rule comes back for every task and seed, the answer depends on the rule alone.
_reject_reason = lru_cache(maxsize=10_000)(reject_reason)
