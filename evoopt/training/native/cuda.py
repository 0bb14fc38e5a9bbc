"""Kernels in CUDA C++, compiled in each process by the compiler that torch brings along."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from evoopt.errors import EvooptWarning, one_line
from evoopt.training.native.arguments import TYPES


def source(name: str, dtype: torch.dtype, before: str = "") -> str:
    """``name.cu`` for numbers of a type, with some lines before it."""
    text = Path(__file__).with_name(f"{name}.cu").read_text(encoding="utf-8")
    return f"typedef {TYPES[dtype]} T;\n{before}{text}"


@functools.cache
def kernel(name: str, dtype: torch.dtype, device: int, before: str = "") -> Callable[..., Any] | None:
    """The function ``name`` of ``name.cu`` on a device; None, with one notice, where it does not compile.

    It is called with ``grid``, ``block`` and ``args``: tensors on the device, and numbers as 32-bit integers.
    """
    try:
        with torch.cuda.device(device):
            made: Callable[..., Any] = torch.cuda._compile_kernel(source(name, dtype, before), name)
        return made
    except Exception as error:
        warnings.warn(
            f"the CUDA kernel {name!r} does not compile, torch runs instead: {one_line(error)}",
            EvooptWarning,
            stacklevel=2,
        )
        return None
