"""Jobs that train members afresh: each member fails alone, and a task that fails every member is broken."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

from evoopt.errors import NoScoreError
from evoopt.execution import ChunkResult, Executor
from evoopt.jobs.no_score import check_metrics, no_score
from evoopt.jobs.queue import Memory, Progress, run_jobs
from evoopt.jobs.rule_worker import Chunk, EngineName, EngineProbe, TaskChunk
from evoopt.training.plan import TrainingResult

N = TypeVar("N")


class TrainingChunk(TaskChunk, Protocol):
    """Members trained together from one seed; answered with a `TrainingResult` for each."""

    def alone(self) -> Sequence[Any]:
        """The same for each member alone."""


C = TypeVar("C", bound=TrainingChunk)


@dataclass(frozen=True)
class TrainingJob(Generic[C, N]):
    """A chunk, and the name its results are kept under."""

    chunk: C
    name: N


def run_trainings(
    executor: Executor,
    jobs: Sequence[TrainingJob[C, N]],
    memory: Memory[TrainingJob[C, N], list[TrainingResult]],
    *,
    states: Path | None = None,
    forget: Callable[[str], None] = lambda task: None,
    progress: Progress = lambda done, left: None,
) -> list[list[TrainingResult]]:
    """Have members trained that the memory does not hold.

    Args:
        executor: Where.
        jobs: What is wanted.
        memory: Holds what earlier attempts finished.
        states: See `run_jobs`.
        forget: Called with the name of a broken task, so that the next attempt tries it again.
        progress: Told of the trainings done and left.

    Returns:
        Results of the members of each job.

    Raises:
        NoScoreError: All trainings on a task failed, for a reason other than divergence, or the task's metric
            lies outside of [0, 1].
    """
    results = run_jobs(
        executor,
        jobs,
        memory,
        chunk_of=lambda job: job.chunk,
        alone=lambda job: job.chunk.alone(),
        failed=_failed,
        states=states,
        progress=progress,
    )
    by_task: dict[str, list[TrainingResult]] = {}
    for job, of_job in zip(jobs, results, strict=True):
        by_task.setdefault(job.chunk.task, []).extend(of_job)
    for task, of_task in by_task.items():
        # Neither is a finding about any member.
        try:
            if all(result.outcome == "failed" for result in of_task):
                raise no_score(task, of_task)
            check_metrics(task, (result.metric for result in of_task))
        except NoScoreError:
            forget(task)
            raise
    return results


def faster_engine(executor: Executor, chunk: Chunk) -> tuple[EngineName, float]:
    """Have a worker measure which engine is faster for a chunk.

    To be asked once per task and remembered, since engines round differently.

    Returns:
        The engine, and the milliseconds that a step of one member takes with it; NaN if none could be timed.

    Raises:
        EvooptError: The measurement failed.
    """
    probe = [EngineProbe(chunk)]
    ((engine, measured),) = run_jobs(executor, probe, failure=f"task {chunk.task!r} cannot be trained")
    return cast(EngineName, engine), measured.get(f"{engine}_ms", math.nan)


def _failed(answer: ChunkResult) -> TrainingResult:
    return TrainingResult.unsuccessful("failed", answer.error or "no result", seconds=answer.seconds)
