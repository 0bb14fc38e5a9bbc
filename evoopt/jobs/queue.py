"""The queue: has an executor do the jobs that are not done yet, and keeps what each gives at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from evoopt.errors import EvooptError
from evoopt.execution import ChunkResult, Executor, ordered

J = TypeVar("J")
J_contra = TypeVar("J_contra", contravariant=True)
R = TypeVar("R")
G = TypeVar("G", bound=Hashable)
M = TypeVar("M", bound=Hashable)

Progress = Callable[[int, int], None]
"""Told how many members have just been done, and how many are left."""


class Memory(Protocol[J_contra, R]):
    """Results of finished jobs: a run's database, a file of lines, or what lasts no longer than a call."""

    def __contains__(self, job: J_contra, /) -> bool:
        """Whether a job is finished."""

    def __getitem__(self, job: J_contra, /) -> R:
        """What a finished job gave, in the same form now as after an interruption."""

    def keep(self, job: J_contra, result: R, /) -> None:
        """Keep all that a job gave, or nothing of it."""


@dataclass(frozen=True)
class Retry(Generic[J]):
    """How the members of a job are done one by one, so that only those that fail alone count as failed.

    Attributes:
        alone: One chunk per member, whose result is a list of one.
        failed: What a member gives that failed alone.
    """

    alone: Callable[[J], Sequence[Any]]
    failed: Callable[[ChunkResult], Any]


class JobsFailedError(EvooptError):
    """Jobs failed that cannot be divided; all others are done and kept.

    Attributes:
        failures: The jobs and what came of them, in order.
    """

    def __init__(self, what: str, failures: Sequence[tuple[Any, ChunkResult]]) -> None:
        super().__init__(f"{what}: {reason(failures[0][1])}")
        self.failures = failures


def run_jobs(
    executor: Executor,
    jobs: Sequence[J],
    memory: Memory[J, Any] | None = None,
    *,
    failure: str = "a job failed",
    chunk_of: Callable[[J], Any] = lambda job: job,
    retry: Retry[J] | None = None,
    progress: Progress = lambda done, left: None,
) -> list[Any]:
    """Have those jobs done that the memory does not hold.

    Args:
        executor: Where.
        jobs: What is wanted.
        memory: Holds what earlier attempts finished; None keeps results for this call only.
        failure: What to say of a job that failed, before the reason.
        chunk_of: What a worker gets for a job.
        retry: Makes a job that fails one of members that are tried alone; its result is a list of theirs.
        progress: Told first of what the memory holds, then of each job; a job without ``retry`` is one
            member.

    Returns:
        What the jobs gave, in their order.

    Raises:
        JobsFailedError: A job failed, and there is no ``retry``.
        EvooptError: No worker could be made.
    """
    kept = _Results[J, Any]() if memory is None else memory
    sizes = [1 if retry is None else len(retry.alone(job)) for job in jobs]
    todo = [k for k, job in enumerate(jobs) if job not in kept]
    left = sum(sizes[k] for k in todo)
    progress(sum(sizes) - left, left)

    def finish(k: int, result: Any) -> None:
        nonlocal left
        kept.keep(jobs[k], result)
        left -= sizes[k]
        progress(sizes[k], left)

    lost: dict[int, ChunkResult] = {}
    for answer in executor.run([chunk_of(jobs[k]) for k in todo]):
        k = todo[answer.index]
        if answer.value is not None:
            finish(k, answer.value)
        elif retry is not None and sizes[k] == 1:
            finish(k, [retry.failed(answer)])
        else:
            lost[k] = answer
    for k in lost:
        if retry is None:
            raise JobsFailedError(failure, [(jobs[other], lost[other]) for other in sorted(lost)])
        # One member took its whole job down.
        answers = ordered(executor.run(retry.alone(jobs[k])), sizes[k])
        finish(k, [retry.failed(one) if one.value is None else one.value[0] for one in answers])
    return [kept[job] for job in jobs]


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
        (group, tuple(own)[start : start + size])
        for group, own in groups.items()
        for start in range(0, len(own), size)
    ]


def reason(failed: ChunkResult) -> str:
    """Why a chunk failed."""
    return failed.error or "no result"


class _Results(Generic[J, R]):
    """What lasts no longer than a call; jobs need no equality, those of arrays have none."""

    def __init__(self) -> None:
        self._by_id: dict[int, R] = {}

    def __contains__(self, job: J, /) -> bool:
        return id(job) in self._by_id

    def __getitem__(self, job: J, /) -> R:
        return self._by_id[id(job)]

    def keep(self, job: J, result: R, /) -> None:
        self._by_id[id(job)] = result
