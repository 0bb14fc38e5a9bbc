"""Faster arithmetic on CUDA devices, as an option."""

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
        with torch.autocast("cuda", torch.bfloat16):
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
