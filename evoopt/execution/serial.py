"""Execution in this process: for debugging, small runs, and as the reference the others must equal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch  # noqa: F401  (loaded before the first chunk, so that the thread limit holds for it)

from evoopt.errors import EvooptError
from evoopt.execution.executor import ChunkResult, Executor, Worker, WorkerFactory
from evoopt.execution.process_setup import give_back_freed_memory, keep_freed_memory, torch_threads
from evoopt.execution.worker import attempt, startup_error


class SerialExecutor(Executor):
    """Runs chunks one after the other in this process, in order.

    The number of torch threads is changed only while the worker is made and while a chunk runs. Like a pool's
    workers, the process keeps freed memory from the first run on (see `keep_freed_memory`), and gives it back
    when this is closed. `KeyboardInterrupt` and `SystemExit` pass through.
    """

    def __init__(self, factory: WorkerFactory, setup: Any, threads: int) -> None:
        self._factory = factory
        self._setup = setup
        self._threads = threads
        self._worker: Worker | None = None
        self._closed = False

    def run(self, chunks: Sequence[Any]) -> Iterator[ChunkResult]:
        """See `Executor.run`."""
        for index, chunk in enumerate(chunks):
            if self._closed:
                raise RuntimeError("the executor is closed")
            if self._worker is None:
                self._worker = self._make_worker()
            yield replace(attempt(self._worker, chunk, self._threads), index=index)

    def close(self) -> None:
        """Let go of the worker and what it loaded."""
        if self._worker is not None:
            self._worker = None
            give_back_freed_memory()
        self._closed = True

    def _make_worker(self) -> Worker:
        keep_freed_memory()
        try:
            with torch_threads(self._threads):
                return self._factory(self._setup)
        except EvooptError:
            raise
        except Exception as error:
            raise EvooptError(startup_error(error)) from error
