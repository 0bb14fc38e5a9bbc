"""Workers for the tests that compute with torch."""

from __future__ import annotations

import os
from typing import Any

import torch


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
    """Tells the limits on threads: torch's, and the one in the environment."""

    def __call__(self, chunk: Any) -> tuple[int, str | None]:
        return torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")


def make_summing(setup: Any) -> Summing:
    return Summing()


def make_counting(setup: Any) -> Counting:
    return Counting()
