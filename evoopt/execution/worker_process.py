"""One spawned worker as its parent sees it: a process and the only pipe that leads to it."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import pickle
import socket
import struct
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from evoopt.errors import EvooptError, one_line
from evoopt.execution.device import EXIT_CODE as DEVICE_FAILED
from evoopt.execution.executor import ChunkResult, full_text
from evoopt.execution.process_setup import (
    children_allowed,
    importable_main,
    sigint_blocked,
    thread_limits_for_children,
)
from evoopt.execution.worker import Reply, worker_main

UNGUARDED_MAIN = 99
"""Exit code of a worker whose main script starts workers of its own while it is imported."""

_STARTUP_LIMIT_S = 600.0
_POLITE_S, _TERMINATE_S, _KILL_S = 2.0, 1.0, 5.0
_spawn = multiprocessing.get_context("spawn")
_start_lock = threading.Lock()


@dataclass
class Job:
    """A chunk by its index, and how often it was started."""

    index: int
    attempts: int = 0


class WorkerProcess:
    """Starts the process at once; its first reply tells whether the worker could be made.

    Args:
        payload: Pickled factory and setup.
        threads: Threads for numerical libraries.
        timeout_s: Longest time for one chunk in seconds, or None.
    """

    def __init__(self, payload: bytes, threads: int, timeout_s: float | None) -> None:
        self.job: Job | None = None
        self.ready = False
        self._timeout_s = timeout_s
        self._timed_out = False
        self._limit_s: float | None = _STARTUP_LIMIT_S
        self._since = time.monotonic()
        self.pipe, theirs = _spawn.Pipe(duplex=True)
        by_main_thread = threading.current_thread() is threading.main_thread()
        # Daemonic: multiprocessing ends it at exit whatever else happens.
        self.process = _spawn.Process(
            target=worker_main, args=(theirs, threads, by_main_thread), name="evoopt-worker", daemon=True
        )
        try:
            with (
                _start_lock,
                thread_limits_for_children(threads),
                importable_main(),
                sigint_blocked(),
                children_allowed(),
            ):
                self.process.start()
        except OSError as error:
            self.pipe.close()
            raise EvooptError(f"cannot start a worker process ({error}); try fewer workers") from error
        finally:
            theirs.close()
        with contextlib.suppress(OSError):  # an early death is noticed later, like any other
            self.pipe.send_bytes(payload)
        if timeout_s is not None:
            limit_transfers(self.pipe, timeout_s)

    @property
    def idle(self) -> bool:
        """Whether it can take a chunk."""
        return self.ready and self.job is None

    @property
    def seconds(self) -> float:
        """Time since it was given its task."""
        return time.monotonic() - self._since

    @property
    def seconds_left(self) -> float:
        """Time until it counts as hung; infinite while it is idle or has no limit."""
        return float("inf") if self.idle or self._limit_s is None else self._limit_s - self.seconds

    def give(self, job: Job, message: bytes) -> None:
        """Send a chunk.

        Raises:
            OSError: The process is dead; the job was not started.
        """
        self._since, self._limit_s = time.monotonic(), self._timeout_s
        self.job = job  # busy already, so that nobody uses it again after Ctrl-C in the middle of the message
        try:
            self.pipe.send_bytes(message)
        except OSError as error:
            self.job = None
            if isinstance(error, BlockingIOError):
                self.expire()
            raise
        job.attempts += 1

    def receive(self) -> ChunkResult:
        """Read the reply that is waiting in the pipe.

        Raises:
            EOFError, OSError: The process is dead.
        """
        try:
            message = self.pipe.recv_bytes()
        except BlockingIOError:
            self.expire()
            raise
        try:
            reply = pickle.loads(message)
            assert isinstance(reply, ChunkResult)
        except Exception as error:
            reason = f"result cannot be unpickled: {one_line(error)}"
            return Reply(error=reason, seconds=self.seconds, traceback=full_text(error))
        return reply

    def expire(self) -> None:
        """Kill it for taking too long."""
        self._timed_out = True
        self.process.kill()

    def cause_of_death(self) -> str:
        """Say in one line why the process ended, ending it if need be."""
        self.process.join(_KILL_S)
        if self._timed_out:
            return f"timed out after {self._limit_s:g} s"
        code = self.process.exitcode
        if code == DEVICE_FAILED:
            return "the CUDA device failed in its process"
        if code is None:
            return "worker died (it left its pipe)"
        return f"worker died (signal {-code})" if code < 0 else f"worker died (exit code {code})"


def stop(workers: Iterable[WorkerProcess]) -> None:
    """End the processes: idle ones are asked, others terminated; what resists is killed."""
    workers = list(workers)
    for worker in workers:
        worker.pipe.close()
        if not worker.idle:
            worker.process.terminate()
    for patience_s, harsher in ((_POLITE_S, "terminate"), (_TERMINATE_S, "kill")):
        deadline = time.monotonic() + patience_s
        for worker in workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                getattr(worker.process, harsher)()
    for worker in workers:
        worker.process.join(_KILL_S)
        if not worker.process.is_alive():
            worker.process.close()


def limit_transfers(pipe: Connection, seconds: float) -> None:
    """Let a read or write of the pipe that makes no progress raise `BlockingIOError` after a time.

    A worker that is stopped in the middle of a large message would block its parent otherwise.
    """
    if os.name == "posix":
        timeval = struct.pack("@ll", math.ceil(seconds), 0)  # struct timeval
        with socket.socket(fileno=os.dup(pipe.fileno())) as end:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
