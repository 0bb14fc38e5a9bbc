"""Uniform numbers of `evoopt.training.counters` by a CUDA kernel, on the device where they are needed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.training.native import cuda
from evoopt.training.native.build import text_of

BEFORE = f"#define DEVICE __device__\n{text_of('philox.h')}"
_THREADS = 256
_LARGEST = 2**31 - 1


def suits(keys: Tensor) -> bool:
    """Whether the kernel can draw on the device of these keys."""
    return keys.is_cuda and cuda.compiles(
        "philox", "uniforms", keys.new_empty(0, dtype=torch.float32), BEFORE
    )


def uniforms(keys: Tensor, step: int | Tensor, tensor: int, shape: tuple[int, ...]) -> Tensor:
    """Float32 numbers ``[keys, *shape]``; arguments are those of `evoopt.training.counters.uniforms`.

    Raises:
        EvooptError: Keys that are not int64 ``[members]``, or sizes out of range.
    """
    out, how = launch(keys, step, tensor, shape)
    if out.numel():
        cuda.run("philox", "uniforms", out, how, BEFORE)
    return out


def launch(
    keys: Tensor, step: int | Tensor, tensor: int, shape: tuple[int, ...]
) -> tuple[Tensor, cuda.Launch]:
    """Memory for what `uniforms` returns, and how its kernel is launched."""
    if keys.dtype != torch.int64 or keys.dim() != 1 or not keys.is_contiguous():
        raise EvooptError(f"the keys of random numbers must be int64 [members], not {list(keys.shape)}")
    size = math.prod(shape)
    at = step if isinstance(step, Tensor) else torch.full((1,), step, device=keys.device)
    if at.dtype != torch.int64 or at.numel() != 1 or at.device != keys.device:
        raise EvooptError("the step of random numbers must be one int64 on the device of their keys")
    numbers = [size, tensor] if isinstance(step, Tensor) else [size, tensor, step]
    if not all(0 <= n <= _LARGEST for n in numbers):
        raise EvooptError(f"a member's random numbers {list(shape)} are too many for the CUDA kernel")
    out = torch.empty(len(keys), *shape, dtype=torch.float32, device=keys.device)
    blocks = -(-size // (4 * _THREADS)), min(65_535, max(1, len(keys))), 1
    return out, cuda.Launch([keys, out, at, len(keys), size, tensor], blocks, (_THREADS, 1, 1))
