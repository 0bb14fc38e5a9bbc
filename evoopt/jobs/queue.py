"""The queue: has an executor do the jobs that are not done yet, and keeps what each gives at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from evoopt.errors import EvooptError, one_line
from evoopt.execution import ChunkResult, Executor, ordered
from evoopt.jobs.job_key import job_key
from evoopt.training import interrupted

J = TypeVar("J")
J_contra = TypeVar("J_contra", contravariant=True)
R = TypeVar("R")
G = TypeVar("G", bound=Hashable)
M = TypeVar("M", bound=Hashable)

Progress = Callable[[int, int], None]
"""Told how many members have just been done, and how many are left."""


class Memory(Protocol[J_contra, R]):
    """Results of finished jobs: those in a run's database, say, or in a file that grows by lines."""

    def __contains__(self, job: J_contra, /) -> bool:
        """Whether a job is finished."""

    def __getitem__(self, job: J_contra, /) -> R:
        """What a finished job gave, in the same form now as after an interruption."""

    def keep(self, job: J_contra, result: R, /) -> None:
        """Keep all that a job gave, or nothing of it."""


class JobsFailedError(EvooptError):
    """Jobs failed that cannot be divided; all others are done and kept.

    Attributes:
        failures: The jobs and what came of them, in order.
    """

    def __init__(self, what: str, failures: Sequence[tuple[Any, ChunkResult]]) -> None:
        super().__init__(f"{what}: {failures[0][1].error}")
        self.failures = failures


def run_jobs(
    executor: Executor,
    jobs: Sequence[J],
    memory: Memory[J, Any] | None = None,
    *,
    failure: str = "a job failed",
    chunk_of: Callable[[J], Any] = lambda job: job,
    alone: Callable[[J], Sequence[Any]] | None = None,
    failed: Callable[[ChunkResult], Any] = lambda answer: answer,
    states: Path | None = None,
    progress: Progress = lambda done, left: None,
) -> list[Any]:
    """Have those jobs done that the memory does not hold.

    Args:
        executor: Where.
        jobs: What is wanted.
        memory: Holds what earlier attempts finished; None keeps results for this call only.
        failure: What to say of a job that failed, before the reason.
        chunk_of: What a worker gets for a job.
        alone: One chunk per member of a job whose result is a list with an item for each. If such a job
            fails, its members are tried alone, and only those that fail again count as failed.
        failed: What a member gives that failed alone.
        states: Folder where the trainings of unfinished jobs leave their states, from which the next attempt
            goes on; workers see it, and `evoopt.training.interrupted.interruptible` made them.
        progress: Told first of what the memory holds, then of each job; without ``alone`` a job is one
            member.

    Returns:
        What the jobs gave, in their order.

    Raises:
        JobsFailedError: A job failed, and ``alone`` is not given.
        EvooptError: No worker could be made.
    """
    sizes = [1 if alone is None else len(alone(job)) for job in jobs]
    todo = [k for k, job in enumerate(jobs) if memory is None or job not in memory]
    left = sum(sizes[k] for k in todo)
    progress(sum(sizes) - left, left)
    new: dict[int, Any] = {}

    def chunk(k: int) -> Any:
        if states is None:
            return chunk_of(jobs[k])
        return interrupted.Interruptible(chunk_of(jobs[k]), states / job_key(jobs[k]), interrupted.SAVE_EVERY)

    def finish(k: int, result: Any) -> None:
        nonlocal left
        if memory is None:
            new[k] = result
        else:
            memory.keep(jobs[k], result)
        if states is not None:
            interrupted.remove_states(states / job_key(jobs[k]))
        left -= sizes[k]
        progress(sizes[k], left)

    lost: dict[int, ChunkResult] = {}
    for answer in executor.run([chunk(k) for k in todo]):
        k = todo[answer.index]
        if answer.value is not None:
            finish(k, answer.value)
        elif alone is not None and sizes[k] == 1:
            finish(k, [failed(answer)])
        else:
            lost[k] = answer
    for k in lost:
        if alone is None:
            raise JobsFailedError(failure, [(jobs[other], lost[other]) for other in sorted(lost)])
        answers = ordered(executor.run(alone(jobs[k])), sizes[k])
        finish(k, [failed(one) if one.value is None else one.value[0] for one in answers])
    return [new[k] if memory is None else memory[job] for k, job in enumerate(jobs)]


def jobs_here(work: Callable[[J], R], failure: str) -> Callable[[Sequence[J]], list[R]]:
    """What does jobs in this process, one after another; a person's own code may fail in any of them.

    Args:
        work: Does a job.
        failure: What to say of one that failed, before the reason.
    """

    def run(jobs: Sequence[J]) -> list[R]:
        try:
            return [work(job) for job in jobs]
        except EvooptError:
            raise
        except Exception as error:
            raise EvooptError(f"{failure}: {one_line(error)}") from error

    return run


def in_chunks(members: Iterable[tuple[G, M]], size: int) -> list[tuple[G, tuple[M, ...]]]:
    """Lay out members in chunks: those of a group together, each once, in the order of their appearance.

    Chunks decide how sums are rounded, so they must not depend on what an interrupted attempt has finished.

    Args:
        members: Pairs of group and member.
        size: Members per chunk.

    Returns:
        The group of each chunk and its members.
    """
    groups: dict[G, dict[M, None]] = {}
    for group, member in members:
        groups.setdefault(group, {})[member] = None
    return [
        (group, tuple(of_group)[start : start + size])
        for group, of_group in groups.items()
        for start in range(0, len(of_group), size)
    ]
