"""The inside of a Dask worker: it keeps processes that do the work, the same as those of a local pool.

The Dask worker itself only passes messages on. So a chunk that crashes, hangs or holds the interpreter's lock
harms a process that the pool's own rules replace, and Dask sees a healthy worker all the time.
"""

from __future__ import annotations

import importlib.metadata
import pickle
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from distributed import Worker as DaskWorker
from distributed import WorkerPlugin, get_worker

from evoopt.errors import EvooptError
from evoopt.execution.executor import ChunkResult, Worker
from evoopt.execution.pool import ProcessExecutor
from evoopt.version import __version__

IDLE_S = 600.0
"""Processes without work for this long are ended; they are made again when they are needed."""


def versions() -> dict[str, str]:
    """What must agree between the machines of a run; labels of local versions such as +cpu are left out."""
    return {
        "evoopt": __version__,
        "torch": importlib.metadata.version("torch").partition("+")[0],
        "Python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }


class ProcessPlugin(WorkerPlugin):  # type: ignore[misc]
    """Makes a Dask worker ready for chunks; each thread of it keeps one process.

    Args:
        name: Unique name, which chunks are sent with.
        payload: Pickled factory and setup.
        threads: Torch threads per process.
        timeout_s: Longest time for one chunk in seconds, or None.
        expected: Versions on the machine that leads the run.
    """

    def __init__(
        self, name: str, payload: bytes, threads: int, timeout_s: float | None, expected: dict[str, str]
    ) -> None:
        self.name = name
        self._payload, self._threads, self._timeout_s = payload, threads, timeout_s
        self._expected = expected

    def setup(self, worker: DaskWorker) -> None:
        """Called by Dask on every worker, present or future."""
        self._address = worker.address
        self._lock = threading.Lock()
        self._free: list[_Pool] = []
        self._timer = _started_timer(self._rest)

    def teardown(self, worker: DaskWorker) -> None:
        """Called by Dask when the run's executor is closed, or the worker."""
        self._timer.cancel()
        self._rest()

    def run(self, index: int, message: bytes, wanted: Callable[[], bool]) -> ChunkResult:
        """Run a pickled chunk; the result's value is pickled too.

        Args:
            index: Index of the chunk.
            message: The chunk.
            wanted: Asked about once a second whether the result is still wanted; if not, the process ends.

        Raises:
            EvooptError: Another version here, or no process can be made; its message is the factory's where
                that raised one.
        """
        for package, here in versions().items():
            if here != self._expected[package]:
                raise EvooptError(
                    f"the Dask worker {self._address} has {package} {here}, but this machine has {package} "
                    f"{self._expected[package]}: results could differ; install the same version on both"
                )
        with self._lock:
            self._timer.cancel()
            pool = self._free.pop() if self._free else _Pool(self._payload, self._threads, self._timeout_s)
        pool.wanted = wanted
        try:
            (result,) = pool.run([message])
        finally:
            with self._lock:
                self._free.append(pool)
                self._timer.cancel()
                self._timer = _started_timer(self._rest)
        return replace(result, index=index)

    def _rest(self) -> None:
        with self._lock:
            idle, self._free = self._free, []
        for pool in idle:
            pool.close()


class _Pool(ProcessExecutor):
    """One process, whose chunk can be given up from outside."""

    def __init__(self, payload: bytes, threads: int, timeout_s: float | None) -> None:
        super().__init__(_make_relay, payload, 1, threads, timeout_s)
        self.wanted: Callable[[], bool] = lambda: True

    def _require_open(self) -> None:
        super()._require_open()
        if not self.wanted():
            raise RuntimeError("nobody wants the chunk any more")

    def _passed_on(self, result: ChunkResult) -> ChunkResult:
        return result  # who leads the run tells its warnings


def run_chunk(name: str, index: int, message: bytes) -> ChunkResult:
    """The task that Dask runs for one chunk."""
    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state in ("executing", "long-running")

    plugin: ProcessPlugin = worker.plugins[name]
    return plugin.run(index, message, wanted)


def _make_relay(payload: bytes) -> Worker:
    factory, setup = pickle.loads(payload)
    worker: Worker = factory(setup)

    def relay(chunk: bytes) -> bytes:
        value = worker(pickle.loads(chunk))
        try:
            return pickle.dumps(value)
        except Exception as error:
            raise RuntimeError(f"result cannot be pickled: {error}") from error

    return relay


def _started_timer(action: Callable[[], Any]) -> threading.Timer:
    timer = threading.Timer(IDLE_S, action)
    timer.daemon = True
    timer.start()
    return timer
