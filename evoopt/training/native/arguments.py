"""Compiled functions, and the addresses and strides that they are called with."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from evoopt.training.native.build import library

TYPES = {torch.float32: "float", torch.float64: "double"}
"""Suffix of a function's name by the type of its numbers."""

POINTER, NUMBER, FLAG = ctypes.c_void_p, ctypes.c_long, ctypes.c_int


def numbers(names: str) -> list[tuple[str, type[ctypes.c_long]]]:
    """Fields of a `ctypes.Structure` of numbers."""
    return [(name, NUMBER) for name in names.split()]


def function(
    source: str, name: str, arguments: tuple[Any, ...], result: Any = None
) -> Callable[[torch.dtype], Callable[..., Any]]:
    """A function of ``source.cpp``, by the type of its numbers; called only where the file compiles.

    Args:
        source: Name of the file.
        name: Of the function, without its suffix.
        arguments: Types of its arguments in C.
        result: Type of its result.
    """

    @cache
    def for_numbers(dtype: torch.dtype) -> Callable[..., Any]:
        compiled = library(source)
        assert compiled is not None, "asked for by `suits`"
        entry = getattr(compiled, f"{name}_{TYPES[dtype]}")
        entry.argtypes, entry.restype = arguments, result
        return entry  # type: ignore[no-any-return]

    return for_numbers


def address(tensor: Tensor, member: int) -> int:
    """Where a member's part of ``[P or 1, ...]`` begins."""
    start = tensor.data_ptr()
    return start + stride(tensor) * member * tensor.element_size() if member else start


def stride(tensor: Tensor) -> int:
    """Numbers from one member to the next, 0 where all share one part."""
    return tensor.stride(0) if tensor.size(0) > 1 else 0


def in_rows(tensor: Tensor) -> Tensor:
    """The tensor, copied unless each member's part is contiguous."""
    strides, size = tensor.stride(), 1
    for k in range(tensor.dim() - 1, 0, -1):
        if strides[k] != size:
            return tensor.contiguous()
        size *= tensor.shape[k]
    return tensor
