"""Members of a population divided among threads; a member's numbers do not depend on how."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from typing import Any

import torch


def over_members(count: int, work: Callable[..., bool], *arguments: Any) -> bool:
    """Call ``work(start, stop, *arguments)`` for parts of ``count`` members, on as many threads as torch
    may use.

    Returns:
        Whether all of them returned True.
    """
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
