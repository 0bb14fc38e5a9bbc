"""Members of a population divided among threads; a member's numbers do not depend on how."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch


def over_members(count: int, work: Callable[[int, int], None]) -> None:
    """Call ``work(start, stop)`` for parts of ``count`` members, on as many threads as torch may use."""
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        work(0, count)
        return
    bounds = [count * k // threads for k in range(threads + 1)]
    # A foreign call lets go of the interpreter's lock, so threads do run beside each other.
    list(_pool(threads).map(work, bounds[:-1], bounds[1:]))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="evoopt-member")
