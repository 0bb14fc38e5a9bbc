"""Members of a population divided among threads; a member's numbers do not depend on how."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache, partial
from itertools import pairwise
from typing import Any

import torch


class _Writing(threading.local):
    to: Callable[[Callable[[], bool], bool], None] | None = None


_WRITING = _Writing()


@contextmanager
def written_down(to: Callable[[Callable[[], bool], bool], None]) -> Iterator[None]:
    """Hand over whatever this thread calls meanwhile, to be called again, with what it returned."""
    _WRITING.to = to
    try:
        yield
    finally:
        _WRITING.to = None


def over_members(count: int, work: Callable[..., bool], *arguments: Any) -> bool:
    """Call ``work(start, stop, *arguments)`` for parts of ``count`` members, on as many threads as torch
    may use.

    Returns:
        Whether all of them returned True.
    """
    valid = _divided(count, work, *arguments)
    if _WRITING.to is not None:
        _WRITING.to(partial(_divided, count, work, *arguments), valid)
    return valid


def _divided(count: int, work: Callable[..., bool], *arguments: Any) -> bool:
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        return work(0, count, *arguments)
    bounds = [count * k // threads for k in range(threads + 1)]
    # A foreign call lets go of the interpreter's lock, so threads do run beside each other.
    parts: list[Future[bool]] = []
    try:
        for start, stop in pairwise(bounds):
            parts.append(_pool(threads).submit(work, start, stop, *arguments))
        return all(part.result() for part in parts)
    finally:
        wait(parts)  # whoever leaves, for whatever reason, may free the memory that others still work on


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="evoopt-member")
