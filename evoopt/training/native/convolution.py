"""Stacked convolutions by a compiled kernel: nothing is copied, most of a core's arithmetic is used.

Activations are ``[P or 1, channels, height, width, b]``, kernels ``[P, filters, channels, kh, kw]``; the
stride is 1.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor, nn

from evoopt.training.native.arguments import FLAG, NUMBER, POINTER, TYPES, address, function, in_rows, numbers
from evoopt.training.native.build import library
from evoopt.training.native.threads import over_members

_outputs = function(
    "convolution", "forward", (POINTER, POINTER, POINTER, NUMBER, POINTER, NUMBER, POINTER, FLAG)
)
_weights = function("convolution", "weights", (*(POINTER,) * 4, NUMBER))


class _Shape(ctypes.Structure):
    _fields_ = numbers(
        "members shared channels height width filters kh kw down right out_height out_width examples"
    )


def suits(layer: nn.Conv2d, a: Tensor) -> bool:
    """Whether the compiled kernel can run this layer on these activations."""
    return (
        a.device.type == "cpu"
        and a.dtype in TYPES
        and tuple(layer.stride) == (1, 1)
        and library("convolution") is not None
    )


def convolve(a: Tensor, kernels: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    """Outputs ``[P, filters, height', width', b]``."""
    return _forward(a, kernels, bias, padding, flipped=False)


def input_gradient(grad: Tensor, kernels: Tensor, padding: tuple[int, int]) -> Tensor:
    """Gradient of the inputs ``[P, channels, height, width, b]`` from that of the outputs.

    It is the convolution of the outputs' gradient with the kernels turned by 180 degrees.
    """
    kh, kw = kernels.shape[3:]
    return _forward(grad, kernels, None, (kh - 1 - padding[0], kw - 1 - padding[1]), flipped=True)


def kernel_gradient(a: Tensor, grad: Tensor, kernels: Tensor, padding: tuple[int, int]) -> Tensor:
    """Gradient of the kernels, of their shape."""
    a, grad = a.contiguous(), grad.contiguous()
    d_kernels = kernels.new_empty(kernels.shape)
    filters, channels = kernels.shape[1:3]
    run = _weights(a.dtype)

    def members(start: int, stop: int) -> None:
        shape = _shape(a, kernels, filters, channels, padding, grad.shape[2:4], stop - start)
        addresses = (address(tensor, start) for tensor in (a, grad, d_kernels))
        run(ctypes.byref(shape), *addresses, d_kernels.stride(0))

    over_members(len(kernels), members)
    return d_kernels


def _forward(
    a: Tensor, kernels: Tensor, bias: Tensor | None, padding: tuple[int, int], flipped: bool
) -> Tensor:
    a, kernels = a.contiguous(), in_rows(kernels)
    bias = None if bias is None else in_rows(bias)
    filters, channels = kernels.shape[1:3]
    if flipped:
        filters, channels = channels, filters
    kh, kw = kernels.shape[3:]
    size = (a.shape[2] + 2 * padding[0] - kh + 1, a.shape[3] + 2 * padding[1] - kw + 1)
    out = a.new_empty(len(kernels), filters, *size, a.shape[-1])
    run = _outputs(a.dtype)

    def members(start: int, stop: int) -> None:
        shape = _shape(a, kernels, filters, channels, padding, size, stop - start)
        biases = (None, 0) if bias is None else (address(bias, start), bias.stride(0))
        run(
            ctypes.byref(shape), address(a, start), address(kernels, start), kernels.stride(0), *biases,
            address(out, start), int(flipped),
        )  # fmt: skip

    over_members(len(kernels), members)
    return out


def _shape(
    a: Tensor,
    kernels: Tensor,
    filters: int,
    channels: int,
    padding: tuple[int, int],
    out: torch.Size | tuple[int, int],
    members: int,
) -> _Shape:
    kh, kw = kernels.shape[3:]
    _, _, height, width, examples = a.shape
    return _Shape(
        members, int(len(a) == 1), channels, height, width, filters, kh, kw, *padding, *out, examples
    )
