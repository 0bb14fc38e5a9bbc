"""Where work runs: the interface that serial, process-pool and cluster execution share."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from evoopt.errors import EvooptError, unknown_name

ExecutorKind = Literal["serial", "process", "dask"]
_KINDS = ("serial", "process", "dask")
_REASON_LENGTH = 300


class Worker(Protocol):
    """What runs inside a worker; it is made once per worker and keeps what it loaded, data sets for one."""

    def __call__(self, chunk: Any) -> Any:
        """Work on one chunk; the result must follow from the chunk and the setup alone."""
        ...


WorkerFactory = Callable[[Any], Worker]
"""Makes a worker from a small picklable setup.

It must be importable by name from a module that imports torch (one loaded later, inside a chunk, escapes the
thread limit there), and must set any global torch state the work depends on, such as the default dtype: other
processes do not inherit it.
"""


@dataclass(frozen=True)
class ChunkResult:
    """What came of one chunk.

    Attributes:
        index: Position of the chunk in the sequence given.
        value: What the worker returned; None if it failed.
        error: Why it failed, in one line; None if it did not.
        attempts: How often it was started: 0 if it could not be sent to a worker, 2 after a retry.
        seconds: Wall time of the last attempt.
        traceback: Full text for logs, empty unless the worker raised an exception.
    """

    index: int
    value: Any | None
    error: str | None
    attempts: int
    seconds: float
    traceback: str = ""


class Executor(Protocol):
    """Runs chunks on workers made by one factory. A context manager that closes itself.

    Results depend on neither the kind of executor nor the number of workers, as long as the worker's do not.
    """

    def run(self, chunks: Sequence[Any]) -> Iterator[ChunkResult]:
        """Yield one result per chunk in order of completion.

        A chunk's own failure is a result with an `error`. Workers stay alive between runs. Closing or
        abandoning the iterator stops the chunks that are still running; one run at a time.

        Raises:
            EvooptError: No worker could be made; its message is the factory's where that raised one.
        """
        ...

    def close(self) -> None:
        """Stop all workers, busy ones included. May be called again."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def make_executor(
    kind: ExecutorKind,
    factory: WorkerFactory,
    setup: Any,
    *,
    workers: int | None = None,
    threads_per_worker: int = 1,
    timeout_s: float | None = None,
    scheduler: str | None = None,
    device: str = "cpu",
) -> Executor:
    """Make an executor; its workers start with the first chunks.

    Args:
        kind: ``"serial"`` runs in this process, ``"process"`` in a pool of spawned processes, ``"dask"`` on
            a Dask cluster.
        factory: Makes the worker, once per process.
        setup: The factory's argument.
        workers: Number of processes; None means as many as fit the usable cores. Ignored by ``"serial"`` and
            with a scheduler.
        threads_per_worker: Torch threads while a chunk runs. It decides how sums are rounded, so it
            belongs to the config, not to the machine.
        timeout_s: Longest time for one chunk in seconds, after which its process is killed. ``"serial"``
            cannot enforce it.
        scheduler: Address of a running Dask scheduler for ``"dask"``; None makes a cluster on this machine.
        device: What the work computes on; ``"dask"`` gives a chunk that computes on CUDA a GPU of its own.

    Raises:
        EvooptError: Unknown kind, a number out of range, a factory or setup that cannot be pickled, or Dask
            that is not installed.
    """
    if kind not in _KINDS:
        raise unknown_name("executor", kind, _KINDS)
    if workers is not None and workers < 1:
        raise EvooptError(f"workers must be at least 1, not {workers}")
    if threads_per_worker < 1:
        raise EvooptError(f"threads_per_worker must be at least 1, not {threads_per_worker}")
    if timeout_s is not None and not 0 < timeout_s < float("inf"):
        raise EvooptError(f"the timeout must be a finite number of seconds above 0, not {timeout_s:g}")
    if kind == "serial":
        from evoopt.execution.serial import SerialExecutor

        return SerialExecutor(factory, setup, threads_per_worker)
    if kind == "dask":
        from evoopt.execution.dask import DaskExecutor

        return DaskExecutor(factory, setup, workers, threads_per_worker, timeout_s, scheduler, device)
    from evoopt.execution.pool import ProcessExecutor

    return ProcessExecutor(factory, setup, workers, threads_per_worker, timeout_s)


def ordered(results: Iterable[ChunkResult], n: int) -> list[ChunkResult]:
    """Collect the results of `n` chunks in the order of the chunks."""
    by_index = {result.index: result for result in results}
    return [by_index[index] for index in range(n)]


def one_line(error: BaseException) -> str:
    """An exception's type and the first line of its message."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:
        lines = []
    reason = f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
    return reason if len(reason) <= _REASON_LENGTH else reason[: _REASON_LENGTH - 3] + "..."


def full_text(error: BaseException) -> str:
    """An exception with its traceback, as Python would print it."""
    return "".join(traceback.format_exception(error))
