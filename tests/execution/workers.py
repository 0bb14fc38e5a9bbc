"""Workers for the tests: a chunk names what is to be done. Without torch, so that they start fast."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from evoopt.errors import EvooptError, EvooptWarning
from evoopt.execution.executor import ChunkResult, Executor


class Scripted:
    """Does what the chunk says: ``(action, *arguments)``."""

    def __init__(self, setup: Any) -> None:
        self.setup = setup

    def __call__(self, chunk: tuple[Any, ...]) -> Any:
        action, *arguments = chunk
        return getattr(self, action)(*arguments)

    def double(self, x: int) -> int:
        return 2 * x

    def get_setup(self) -> Any:
        return self.setup

    def pid(self) -> int:
        return os.getpid()

    def meet(self, folder: Path, count: int) -> int:
        """Wait for as many processes as are named, so that each of them takes one chunk."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(os.getpid())).touch()
        while len(list(folder.iterdir())) < count:
            time.sleep(0.01)
        return os.getpid()

    def warn(self, ours: str, other: str) -> int:
        warnings.warn(ours, EvooptWarning, stacklevel=1)
        warnings.warn(other, stacklevel=1)
        return os.getpid()

    def fail(self, message: str) -> None:
        raise ValueError(message)

    def leave(self) -> None:
        raise SystemExit(3)

    def die(self, code: int) -> None:
        os._exit(code)

    def leave_pipe(self) -> None:
        for pipe in [one for one in gc.get_objects() if isinstance(one, Connection)]:
            pipe.close()
        time.sleep(600)

    def die_once(self, mark: Path) -> str:
        if first_time(mark):
            os._exit(3)
        return "survived"

    def sleep(self, seconds: float, mark: Path) -> int:
        mark.write_text(str(os.getpid()))
        time.sleep(seconds)
        return os.getpid()

    def sleep_once(self, seconds: float, mark: Path) -> str:
        if first_time(mark):
            self.sleep(seconds, mark)
        return "awake"

    def freeze(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    def fork_and_die_once(self, mark: Path) -> str:
        if mark.exists():
            return "survived"
        child = os.fork()
        if child == 0:
            time.sleep(600)
            os._exit(0)
        mark.write_text(str(child))
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")

    def unpicklable(self) -> Any:
        return lambda: None

    def unreadable(self) -> Any:
        return Unreadable("result")

    def size(self, data: Any) -> int:
        return len(data)

    def bytes(self, n: int) -> bytes:
        return b"x" * n

    def interrupt(self) -> None:
        raise KeyboardInterrupt


class Unreadable:
    """Can be pickled but not unpickled."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> Any:
        return explode, (self.name,)


def explode(name: str) -> None:
    raise RuntimeError(f"broken {name}")


def first_time(mark: Path) -> bool:
    try:
        mark.touch(exist_ok=False)  # one system call: two workers that start together must not both be first
    except FileExistsError:
        return False
    return True


OTHERS = [("double", i) for i in range(1, 6)]
"""Chunks beside the first, which something happens to."""


def check_others(results: list[ChunkResult]) -> None:
    """All results but the first are those of doubling their index, at the first attempt."""
    assert [(r.value, r.error, r.attempts) for r in results[1:]] == [
        (2 * i, None, 1) for i in range(1, len(results))
    ]


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait for a callable to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def pid_in(mark: Path) -> int:
    """The process id that a chunk writes to the file when it starts."""
    wait_until(lambda: mark.exists() and mark.read_text())
    return int(mark.read_text())


def in_background(action: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=action, args=arguments, daemon=True)
    thread.start()
    return thread


def kill_when_marked(mark: Path, times: int) -> threading.Thread:
    """Send SIGKILL to each of the next `times` processes that write their id to the file."""

    def kill() -> None:
        killed: set[str] = set()
        while len(killed) < times:
            text = mark.read_text() if mark.exists() else ""
            if text and text not in killed:
                os.kill(int(text), signal.SIGKILL)
                killed.add(text)
            time.sleep(0.01)

    return in_background(kill)


def process_ids(executor: Executor, folder: Path, count: int = 2) -> set[int]:
    """The ids of all workers of an executor that has so many; `folder` must be a new one at each call."""
    results = list(executor.run([("meet", folder, count)] * count))
    assert not [result.error for result in results if result.error]
    return {result.value for result in results}


def make_scripted(setup: Any) -> Scripted:
    return Scripted(setup)


def make_missing_data(setup: Any) -> Scripted:
    raise EvooptError("no data for 'mnist'; put it under DATA")


def make_buggy(setup: Any) -> Scripted:
    raise KeyError("gene")


def make_dying(setup: Any) -> Scripted:
    os._exit(7)


def make_dying_at_times(setup: tuple[Path, set[int]]) -> Scripted:
    """Dies at the given births, counted from 1 in a file; of one process after the other."""
    file, deaths = setup
    with file.open("a") as births:
        births.write("x")
    if file.stat().st_size in deaths:
        os._exit(7)
    return Scripted(None)


def make_dying_from_second_on(mark: Path) -> Scripted:
    if not first_time(mark):
        os._exit(7)
    return Scripted(None)


def make_slow(seconds: float) -> Scripted:
    time.sleep(seconds)
    return Scripted(None)
