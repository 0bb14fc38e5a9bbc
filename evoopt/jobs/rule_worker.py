"""What runs inside a worker of tasks: it loads them once and does chunks, which train rules for a search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, Protocol

from evoopt.errors import EvooptError
from evoopt.execution import Worker
from evoopt.jobs.no_score import with_metric
from evoopt.optim.rule import UpdateRule
from evoopt.tasks import DataOptions, Task, TaskData, get_task, load_task_data
from evoopt.tasks.seeding import seeded
from evoopt.training.engine import choose_engine, train
from evoopt.training.filters import reject_reason
from evoopt.training.interrupted import interruptible
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

    def load(self) -> dict[str, tuple[Task, TaskData]]:
        """The tasks and their data by name.

        Raises:
            EvooptError: A task that cannot be loaded, or whose model is complex.
        """
        tasks = {name: get_task(name) for name in self.tasks}
        loaded = {name: (task, load_task_data(task, self.data)) for name, task in tasks.items()}
        for task in tasks.values():
            _refuse_complex(task)
        return loaded


class TaskChunk(Protocol):
    """Work on one task."""

    @property
    def task(self) -> str:
        """Task name."""

    def work(self, task: Task, data: TaskData, device: str) -> Any:
        """Do it, inside a worker."""


def make_worker(setup: WorkerSetup) -> Worker:
    """Load the tasks and return the function that handles chunks.

    Raises:
        EvooptError: A task that cannot be loaded.
    """
    loaded = setup.load()

    def work(chunk: TaskChunk) -> Any:
        return chunk.work(*loaded[chunk.task], setup.device)

    return interruptible(work)


@dataclass(frozen=True)
class Chunk:
    """Rules trained together on one task from one seed.

    Attributes:
        task: Task name.
        rules: The members' rules, in canonical form.
        plan: What to do; ``batch_size`` 0 stands for the task's own.
        engine: How to train them.
        descent_filter: Whether rules that cannot train anything are rejected first.
        curves: Whether results carry the curve of the training loss.
    """

    task: str
    rules: tuple[UpdateRule, ...]
    plan: TrainingPlan
    engine: EngineName
    descent_filter: bool = False
    curves: bool = False

    def alone(self) -> list[Chunk]:
        """The same for each rule alone."""
        return [replace(self, rules=(rule,)) for rule in self.rules]

    def work(self, task: Task, data: TaskData, device: str) -> list[TrainingResult]:
        """Train."""
        reasons = [_reject_reason(rule) if self.descent_filter else None for rule in self.rules]
        kept = [rule for rule, reason in zip(self.rules, reasons, strict=True) if reason is None]
        trained = train(
            task, data, kept, sized(self.plan, task), device, engine=self.engine, keep_losses=self.curves
        )
        results = (result.with_curve() for result in trained)
        return [
            with_metric(next(results)) if reason is None else TrainingResult.unsuccessful("stopped", reason)
            for reason in reasons
        ]


@dataclass(frozen=True)
class EngineProbe:
    """Asks which engine is faster for a chunk; answered with its name and the measurements."""

    chunk: Chunk

    @property
    def task(self) -> str:
        """Task name."""
        return self.chunk.task

    def work(self, task: Task, data: TaskData, device: str) -> tuple[str, dict[str, Any]]:
        """Measure."""
        return choose_engine(task, data, self.chunk.rules, sized(self.chunk.plan, task), device)


def _refuse_complex(task: Task) -> None:
    """Models are trained in float32 here, by which a complex number would lose its imaginary part."""
    with seeded(0):
        model = task.make_model()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_complex():
            raise EvooptError(
                f"task {task.name!r}: {name!r} of the model is complex, and searches for optimizers and "
                "comparisons train in float32: keep its parts apart (torch.view_as_real)"
            )


def sized(plan: TrainingPlan, task: Task) -> TrainingPlan:
    """A plan with the task's own batch size where it has none."""
    return plan if plan.batch_size else replace(plan, batch_size=task.batch_size)


# A rule comes back for every task and seed, the answer depends on the rule alone.
_reject_reason = lru_cache(maxsize=10_000)(reject_reason)
