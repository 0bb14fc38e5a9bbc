"""Max pooling of stacked activations ``[P, channels, height, width, b]`` by a compiled kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor, nn

from evoopt.training.native.arguments import POINTER, TYPES, function, numbers
from evoopt.training.native.build import library
from evoopt.training.native.threads import over_members

_forward, _backward = (function("pooling", name, (POINTER,) * 4) for name in ("forward", "backward"))


class _Shape(ctypes.Structure):
    _fields_ = numbers(
        "planes height width kh kw stride_down stride_right down right out_height out_width examples"
    )


def suits(layer: nn.Module, a: Tensor) -> bool:
    """Whether the compiled kernel can run this layer on these activations."""
    if type(layer) is not nn.MaxPool2d or a.device.type != "cpu" or a.dtype not in TYPES:
        return False
    kh, kw = pair(layer.kernel_size)
    plain = not layer.ceil_mode and not layer.return_indices and pair(layer.dilation) == (1, 1)
    return plain and kh * kw <= 255 and library("pooling") is not None


def max_pool(layer: nn.MaxPool2d, a: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The pooled activations, and the function that maps their gradient to that of ``a``."""
    a = a.contiguous()
    members, channels, height, width, examples = a.shape
    kh, kw = pair(layer.kernel_size)
    stride, padding = pair(layer.stride), pair(layer.padding)
    size = ((height + 2 * padding[0] - kh) // stride[0] + 1, (width + 2 * padding[1] - kw) // stride[1] + 1)
    out = a.new_empty(members, channels, *size, examples)
    winners = torch.empty(out.shape, dtype=torch.uint8)
    about = (height, width, kh, kw, *stride, *padding, *size, examples)

    def run(pool: Callable[..., None], first: Tensor, *others: Tensor) -> None:

        def part(start: int, stop: int) -> None:
            shape = _Shape((stop - start) * channels, *about)
            pool(ctypes.byref(shape), *(t[start].data_ptr() for t in (first, *others)))

        over_members(members, part)

    def back(grad: Tensor) -> Tensor:
        d_input = torch.empty_like(a)
        run(_backward(a.dtype), grad.contiguous(), winners, d_input)
        return d_input

    run(_forward(a.dtype), a, out, winners)
    return out, back


def pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    """A setting of a layer for both axes of an image."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])
