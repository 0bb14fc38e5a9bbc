"""What a process needs before it trains: thread limits, kept memory, and a tie to its parent."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import multiprocessing
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import connection, resource_tracker

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_PR_SET_PDEATHSIG = 1  # Linux's prctl.h
_PARENT_CHECK_S = 2.0


def usable_cores() -> int:
    """Number of cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def keep_freed_memory() -> bool:
    """Let glibc's allocator keep large freed blocks for reuse instead of giving them back to the kernel.

    Activations of many MB are otherwise faulted in again at every step, which can cost half of the time.
    The process then holds on to its peak memory until `give_back_freed_memory`. Nothing happens on other
    allocators.

    Returns:
        Whether the allocator took the setting.
    """
    libc = _glibc()
    if libc is None:
        return False
    return bool(libc.mallopt(_M_MMAP_THRESHOLD, 2**30)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def give_back_freed_memory() -> None:
    """Give the kernel what `keep_freed_memory` has had the allocator keep so far."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if platform.libc_ver()[0] != "glibc":
        return None
    try:
        libc = ctypes.CDLL(None)
    except OSError:
        return None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


@contextlib.contextmanager
def thread_limits_for_children(threads: int) -> Iterator[None]:
    """Have processes started inside see the thread limits in their environment.

    The numerical libraries read these variables when they are imported, which in a spawned process happens
    before any code of ours runs if the main script imports them.
    """
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def importable_main() -> Iterator[None]:
    """Have processes started inside import the main module only if it is a file (``python -`` names none)."""
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if path is None or getattr(main, "__spec__", None) or os.path.exists(path):
        yield
        return
    del main.__file__
    try:
        yield
    finally:
        main.__file__ = path


@contextlib.contextmanager
def children_allowed() -> Iterator[None]:
    """Let a daemonic process, such as a Dask worker, start processes inside.

    multiprocessing forbids it because they would outlive a daemon that is killed; ours end with their parent.
    """
    config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    before = config.get("daemon", False)
    config["daemon"] = False
    try:
        yield
    finally:
        config["daemon"] = before


@contextlib.contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Compute with this many torch threads inside, where torch is loaded, and restore the number after."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def sigint_blocked() -> Iterator[None]:
    """Hold back Ctrl-C inside, so that a process started there is born deaf to it; it is delivered after."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # multiprocessing starts its tracker with the first process, and unblocks SIGINT then.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_sigint() -> None:
    """Leave Ctrl-C to the parent process, which stops its workers in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def die_with_parent(started_by_main_thread: bool) -> None:
    """End this spawned process when its parent ends, however that happens and whatever runs here.

    Args:
        started_by_main_thread: Linux sends the parent-death signal when the parent's *thread* ends, so it
            can be asked for only if that thread lives as long as the process.
    """
    if started_by_main_thread and sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_exit_after_parent, name="parent-watch", daemon=True).start()


def _exit_after_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "only for processes started by multiprocessing"
    # A forked child of the parent may hold the sentinel's other end open, so the parent's id is compared too.
    while not connection.wait([parent.sentinel], _PARENT_CHECK_S):
        if os.name == "posix" and os.getppid() != parent.pid:
            break
    os._exit(1)
