"""The inside of a worker: make it once, then answer chunks; the same steps in every kind of executor."""

from __future__ import annotations

import os
import pickle
import sys
import time
import warnings
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, TextIO

from evoopt.errors import EvooptError, EvooptWarning, one_line
from evoopt.execution.device import EXIT_CODE, DeviceFailedError, raise_if_failed
from evoopt.execution.executor import ChunkResult, Worker, full_text
from evoopt.execution.process_setup import die_with_parent, ignore_sigint, keep_freed_memory, torch_threads

Reply = partial(ChunkResult, -1)
"""A worker's answer: to its making first, then to each chunk, whose index it does not know."""


def startup_error(error: BaseException) -> str:
    """The message for a factory that raised: its own words where they are meant for the user."""
    return str(error) if isinstance(error, EvooptError) else f"a worker could not be made: {one_line(error)}"


def attempt(worker: Worker, chunk: Any, threads: int) -> ChunkResult:
    """Run one chunk with this many torch threads, turning an exception into a reply.

    Raises:
        DeviceFailedError: The chunk has cost the process its CUDA device.
    """
    start = time.perf_counter()
    try:
        with torch_threads(threads):
            value = worker(chunk)
    except Exception as error:
        raise_if_failed(error)
        return Reply(error=one_line(error), seconds=time.perf_counter() - start, traceback=full_text(error))
    return Reply(value, seconds=time.perf_counter() - start)


def worker_main(pipe: Connection, threads: int, started_by_main_thread: bool) -> None:
    """Serve one end of a pipe until the other end is closed.

    Messages are plain pickles: the pickler of `Connection.send` would pass tensors as shared memory, which
    is lost when a worker dies.
    """
    ignore_sigint()
    die_with_parent(started_by_main_thread)
    keep_freed_memory()
    said = _kept_warnings()
    try:
        try:
            factory, setup = pickle.loads(pipe.recv_bytes())
            with torch_threads(threads):
                worker = factory(setup)
        except EOFError:
            return
        except BaseException as error:
            pipe.send_bytes(pickle.dumps(Reply(error=startup_error(error), traceback=full_text(error))))
            return
        pipe.send_bytes(pickle.dumps(Reply()))
        while True:
            message = pipe.recv_bytes()
            pipe.send_bytes(_answer(worker, message, threads, said))
    except (EOFError, ConnectionError):
        return


def _kept_warnings() -> list[str]:
    """A list that our own warnings go to from now on, instead of to this process' standard error."""
    said, show = list[str](), warnings.showwarning

    def keep(
        message: Warning | str, category: type[Warning], filename: str, lineno: int,
        file: TextIO | None = None, line: str | None = None,
    ) -> None:  # fmt: skip
        if issubclass(category, EvooptWarning):
            said.append(str(message))
        else:
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = keep
    return said


def _answer(worker: Worker, message: bytes, threads: int, said: list[str]) -> bytes:
    # BaseException: an exit from inside a chunk must not look like a crash of the worker.
    try:
        reply = attempt(worker, pickle.loads(message), threads)
    except DeviceFailedError as error:
        print(f"evoopt worker: {one_line(error)}", file=sys.stderr, flush=True)
        os._exit(EXIT_CODE)  # a new process may use the device
    except BaseException as error:
        reply = Reply(error=one_line(error), traceback=full_text(error))
    reply = replace(reply, warnings=tuple(said))
    said.clear()
    try:
        return pickle.dumps(reply)
    except Exception as error:
        reason = f"result cannot be pickled: {one_line(error)}"
        return pickle.dumps(replace(reply, value=None, error=reason, traceback=full_text(error)))
