"""Execution in a pool of processes that outlives the death of any of its workers."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing import connection
from typing import Any

from evoopt.errors import EvooptError, one_line
from evoopt.execution.executor import ChunkResult, Executor, WorkerFactory, pickled, told
from evoopt.execution.process_setup import usable_cores
from evoopt.execution.worker_process import UNGUARDED_MAIN, Job, WorkerProcess, stop

MAX_ATTEMPTS = 2
"""How often a chunk is started in all if its worker dies or hangs. An exception would recur: no retry."""

MAX_STARTUP_DEATHS = 3
"""After this many workers in a row died before they were ready, no more are started."""

GUARD = 'put the call that starts evoopt under `if __name__ == "__main__":`'
"""What to do about a main script that workers cannot import."""

_HEARTBEAT_S = 1.0
_log = logging.getLogger(__name__)


def refuse_unguarded_main() -> None:
    """End a worker that is running its parent's script because that lacks a `__main__` guard.

    The parent sees the exit code and explains. To be called before anything with effects on disk.
    """
    # multiprocessing's own mark of a child that is still importing the main script.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(UNGUARDED_MAIN)


class ProcessExecutor(Executor):
    """Runs chunks on spawned processes, one chunk at a time each.

    Every worker has a pipe of its own, so the death of one cannot disturb the others: it is replaced, and its
    chunk started once more.

    Args:
        factory: Makes the worker in each process.
        setup: The factory's argument.
        workers: Number of processes; None means usable cores divided by threads.
        threads: Threads per process.
        timeout_s: Longest time for one chunk in seconds, or None.

    Raises:
        EvooptError: Factory or setup cannot be pickled.
    """

    def __init__(
        self, factory: WorkerFactory, setup: Any, workers: int | None, threads: int, timeout_s: float | None
    ) -> None:
        refuse_unguarded_main()
        try:
            self._payload = pickle.dumps((factory, setup))
        except Exception as error:
            raise EvooptError(
                f"the work cannot be sent to worker processes: {one_line(error)}; "
                "define it at the top level of an importable module, or use the serial executor"
            ) from error
        self._size = workers or max(1, usable_cores() // threads)
        self._threads = threads
        self._timeout_s = timeout_s
        self._workers: list[WorkerProcess] = []
        self._startup_deaths = 0
        self._startup_death = ""
        self._running = False
        self._finalizer = weakref.finalize(self, _stop_own, self._workers, os.getpid())

    def run(self, chunks: Sequence[Any]) -> Iterator[ChunkResult]:
        """See `Executor.run`."""
        if self._running:
            raise RuntimeError("the executor is still busy with an earlier run; close its iterator first")
        self._running = True
        self._startup_deaths = 0
        jobs = deque(Job(index) for index in range(len(chunks)))
        unfinished = len(chunks)
        done: list[ChunkResult] = []
        try:
            while unfinished:
                done += self._dispatch(jobs, chunks)
                unfinished -= len(done)
                yield from done
                done = self._collect(jobs) if unfinished else []
        except BaseException:
            # Closed, abandoned or interrupted: an answer to this run must not reach the next.
            self._discard([worker for worker in self._workers if not worker.idle])
            raise
        finally:
            self._running = False

    def close(self) -> None:
        """See `Executor.close`."""
        self._finalizer()

    def _require_open(self) -> None:
        if not self._finalizer.alive:
            raise RuntimeError("the executor is closed")

    def _dispatch(self, jobs: deque[Job], chunks: Sequence[Any]) -> list[ChunkResult]:
        """Keep enough workers and give each idle one a chunk; return the chunks that cannot be sent."""
        self._require_open()
        unsendable = []
        for worker in [worker for worker in self._workers if worker.idle]:
            while jobs and worker.idle:
                job = jobs.popleft()
                message = pickled(job.index, chunks[job.index])
                if isinstance(message, ChunkResult):
                    unsendable.append(message)
                    continue
                try:
                    worker.give(job, message)
                except OSError:
                    jobs.appendleft(job)
                    self._discard([worker])
                    break
        free = sum(worker.job is None for worker in self._workers)
        wanted = min(len(jobs) - free, self._size - len(self._workers))
        if self._startup_deaths < MAX_STARTUP_DEATHS:
            for _ in range(wanted):
                self._workers.append(WorkerProcess(self._payload, self._threads, self._timeout_s))
        return unsendable

    def _collect(self, jobs: deque[Job]) -> list[ChunkResult]:
        """Wait until something happens to a worker, and deal with it."""
        self._require_open()
        if not self._workers:
            cause = self._startup_death
            self._fail(f"no worker could start: {cause}; see what it printed, and in a script {GUARD}")
        waitable = {item: w for w in self._workers for item in (w.pipe, w.process.sentinel)}
        # A process that a worker forked may keep pipe and sentinel open after its death: look now and then.
        patience = min([_HEARTBEAT_S, *(worker.seconds_left for worker in self._workers)])
        ready = connection.wait(list(waitable), max(0.0, patience))
        stirred = {id(waitable[item]) for item in ready}  # type: ignore[index]
        done = []
        for worker in list(self._workers):
            if id(worker) in stirred or not worker.process.is_alive():
                done += self._hear(worker, jobs)
            elif worker.seconds_left <= 0:
                worker.expire()
                done += self._bury(worker, jobs)
        return done

    def _hear(self, worker: WorkerProcess, jobs: deque[Job]) -> list[ChunkResult]:
        """Take a worker's reply, or its silence for death."""
        try:
            if not worker.pipe.poll():
                return self._bury(worker, jobs)
            reply = worker.receive()
        except (EOFError, OSError):
            return self._bury(worker, jobs)
        if not worker.ready:
            if reply.error is not None:
                self._fail(reply.error, reply.traceback)
            worker.ready = True
            self._startup_deaths = 0
            return []
        job, worker.job = worker.job, None
        assert job is not None
        return [self._passed_on(replace(reply, index=job.index, attempts=job.attempts))]

    def _passed_on(self, result: ChunkResult) -> ChunkResult:
        return told(result)

    def _bury(self, worker: WorkerProcess, jobs: deque[Job]) -> list[ChunkResult]:
        """Remove a dead worker; its chunk is queued again or reported."""
        seconds, job = worker.seconds, worker.job
        cause, code = worker.cause_of_death(), worker.process.exitcode
        self._discard([worker])
        if not worker.ready:
            self._startup_deaths += 1
            self._startup_death = cause
            if code == UNGUARDED_MAIN:
                self._fail(f"the main script, which every worker imports, starts evoopt again: {GUARD}")
        if job is None:
            return []
        if job.attempts < MAX_ATTEMPTS:
            _log.warning("chunk %d: %s; it is started once more", job.index, cause)
            jobs.append(job)
            return []
        return [ChunkResult(job.index, None, cause, job.attempts, seconds)]

    def _discard(self, workers: list[WorkerProcess]) -> None:
        for worker in workers:
            self._workers.remove(worker)
        stop(workers)

    def _fail(self, message: str, details: str = "") -> None:
        self._discard(list(self._workers))
        error = EvooptError(message)
        if details:
            error.add_note(f"In the worker:\n{details}")
        raise error


def _stop_own(workers: list[WorkerProcess], owner: int) -> None:
    # A forked copy of the owner must leave the owner's workers alone.
    if os.getpid() == owner:
        stop(workers)
        workers.clear()
