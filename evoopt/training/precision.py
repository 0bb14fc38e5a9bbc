"""The types of numbers to compute with, whatever the program around has set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch

Precision = Literal["full", "tf32", "bf16"]
"""``full``: the tensors' own dtype; ``tf32``: float32 products with 10-bit mantissas; ``bf16``: mixed
precision, weights and updates stay in float32."""


@contextlib.contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Compute with a precision inside the context, restoring torch's settings after."""
    if precision == "bf16":
        # Weights change in place between two steps, so that no copy of them may be kept.
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            yield
        return
    matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    # Without a device the flag is moot, and torch's own test harness forbids to touch it.
    cuda = torch.cuda.is_available()
    if cuda:
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        if cuda:
            torch.backends.cudnn.allow_tf32 = convolution


@contextlib.contextmanager
def in_float32() -> Iterator[None]:
    """Make float32 the type of new tensors, as it is in a process of its own; also a decorator."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
