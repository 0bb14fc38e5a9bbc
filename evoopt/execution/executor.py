"""Where work runs: the interface that serial, process-pool and cluster execution share."""

from __future__ import annotations

import pickle
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from evoopt.errors import EvooptWarning, one_line

Worker = Callable[[Any], Any]
"""What runs inside a worker, on one chunk; it is made once per worker and keeps what it loaded, data sets for
one. The result must follow from the chunk and the setup alone."""

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
        warnings: What the process that it ran in had to say, unless that is this one.
    """

    index: int
    value: Any | None = None
    error: str | None = None
    attempts: int = 1
    seconds: float = 0.0
    traceback: str = ""
    warnings: tuple[str, ...] = ()


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


def ordered(results: Iterable[ChunkResult], n: int) -> list[ChunkResult]:
    """Collect the results of `n` chunks in the order of the chunks."""
    by_index = {result.index: result for result in results}
    return [by_index[index] for index in range(n)]


def pickled(index: int, chunk: Any) -> bytes | ChunkResult:
    """A chunk as a message to a worker, or what came of it if it cannot be sent."""
    try:
        return pickle.dumps(chunk)
    except Exception as error:
        reason = f"chunk cannot be pickled: {one_line(error)}"
        return ChunkResult(index, error=reason, attempts=0, traceback=full_text(error))


def told(result: ChunkResult) -> ChunkResult:
    """Pass a result on; warn here of what its worker warned of, each text once as Python does by place."""
    for text in result.warnings:
        warnings.warn(text, EvooptWarning, stacklevel=1)
    return result


def full_text(error: BaseException) -> str:
    """An exception with its traceback, as Python would print it."""
    return "".join(traceback.format_exception(error))
