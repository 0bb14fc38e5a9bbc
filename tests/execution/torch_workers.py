"""Workers for the tests that compute with torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from evoopt.execution.process_setup import keep_freed_memory


class Summing:
    """Maps a seed to float32 results that depend on the order of summation."""

    def __call__(self, seed: int) -> bytes:
        generator = torch.Generator().manual_seed(seed)
        a = torch.randn(400, 3, 333, generator=generator)
        w = torch.randn(333, 55, generator=generator, requires_grad=True)
        ((a @ w).tanh().sum() + a.sum() / 7).backward()
        assert w.grad is not None
        return w.grad.numpy().tobytes() + a.sum().numpy().tobytes()


class Counting:
    """Tells torch's limit on threads, the one in the environment, and whether freed memory was to be kept."""

    def __call__(self, chunk: Any) -> tuple[int, str | None, bool]:
        kept = keep_freed_memory.cache_info().currsize > 0
        return torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS"), kept


def make_summing(setup: Any) -> Summing:
    return Summing()


def make_counting(setup: Any) -> Counting:
    return Counting()


class Breaking:
    """Computes on a CUDA device that fails at a chunk, as one looks to torch from then on."""

    def __call__(self, chunk: Any) -> Any:
        action, *arguments = chunk
        if action == "break" or not arguments[0].exists():
            if action != "break":
                arguments[0].touch()
            break_device(setattr)
            torch.cuda.synchronize()
        return os.getpid()


def make_breaking(setup: Any) -> Breaking:
    return Breaking()


def break_device(change: Callable[[Any, str, Any], None]) -> None:
    """Let torch answer as after a kernel's fault."""

    def synchronize(device: Any = None) -> None:
        raise RuntimeError("CUDA error: misaligned address")

    for name, value in {
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "memory_allocated": lambda device: 4096,
        "synchronize": synchronize,
    }.items():
        change(torch.cuda, name, value)
