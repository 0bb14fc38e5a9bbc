"""Kernels in CUDA C++, compiled in each process by the compiler that torch brings along."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from evoopt.errors import EvooptError, EvooptWarning, one_line
from evoopt.training.native.arguments import TYPES
from evoopt.training.native.build import text_of

TYPES_THERE = {**TYPES, torch.bfloat16: "unsigned short"}
"""What numbers are in CUDA C++; a file that computes with bfloat16 asks for ``EVOOPT_BFLOAT16``."""


class Launch(NamedTuple):
    """How a kernel is called.

    Attributes:
        arguments: Tensors on the device, and behind them numbers as 32-bit integers.
        grid: Blocks.
        block: Threads of each.
    """

    arguments: list[Tensor | int]
    grid: tuple[int, int, int]
    block: tuple[int, int, int]


def source(file: str, dtype: torch.dtype, before: str = "") -> str:
    """``file.cu`` for numbers of a type, with some lines before it."""
    halves = "#define EVOOPT_BFLOAT16\n" if dtype == torch.bfloat16 else ""
    # First a declaration: some versions of torch write extern "C" before the first line.
    return f"typedef {TYPES_THERE[dtype]} T;\n{halves}{before}{text_of(f'{file}.cu')}"


def compiles(file: str, name: str, like: Tensor, before: str = "") -> bool:
    """Whether a tensor is on a device for whose numbers the function ``name`` of ``file.cu`` compiles."""
    return like.is_cuda and _kernel(file, name, like.dtype, like.device.index or 0, before) is not None


def run(file: str, name: str, like: Tensor, launch: Launch, before: str = "") -> None:
    """Call the function ``name`` of ``file.cu``, on the device and for the numbers of a tensor.

    Raises:
        EvooptError: It does not compile.
    """
    kernel = _kernel(file, name, like.dtype, like.device.index or 0, before)
    if kernel is None:
        raise EvooptError(f"the CUDA kernel {name!r} does not compile here")
    with torch.cuda.device(like.device):
        kernel(grid=launch.grid, block=launch.block, args=launch.arguments)


@functools.cache
def _kernel(file: str, name: str, dtype: torch.dtype, device: int, before: str) -> Callable[..., Any] | None:
    try:
        with torch.cuda.device(device):
            made: Callable[..., Any] = torch.cuda._compile_kernel(source(file, dtype, before), name)
        return made
    except Exception as error:
        warnings.warn(
            f"the CUDA kernel {name!r} does not compile, torch runs instead: {one_line(error)}",
            EvooptWarning,
            stacklevel=3,
        )
        return None
