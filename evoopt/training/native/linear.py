"""Stacked linear layers, with or without ReLU behind them, by a compiled kernel.

Activations are ``[P or 1, inputs, b]``, weights ``[P, outputs, inputs]`` and biases ``[P, outputs]``; weights
are read and gradients written where they lie, in the rows of a matrix.
"""

from __future__ import annotations

import ctypes

from torch import Tensor

from evoopt.training.native.arguments import (
    FLAG,
    NUMBER,
    POINTER,
    TYPES,
    address,
    function,
    in_rows,
    numbers,
    stride,
)
from evoopt.training.native.build import library
from evoopt.training.native.threads import over_members

_MEMBERS = (POINTER, NUMBER)
_forward = function("linear", "forward", (POINTER, *_MEMBERS * 3, POINTER, FLAG))
_backward = function("linear", "backward", (POINTER, *_MEMBERS * 2, POINTER, POINTER, *_MEMBERS * 2, POINTER))


class _Shape(ctypes.Structure):
    _fields_ = numbers("members inputs outputs examples")


def suits(a: Tensor, weight: Tensor) -> bool:
    """Whether the compiled kernel can run on these activations and weights."""
    return a.is_cpu and a.dtype in TYPES and weight.dtype == a.dtype and library("linear") is not None


def forward(a: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    """Outputs ``[P, outputs, b]``, negative ones as 0 if ``relu``."""
    a, weight = a.contiguous(), in_rows(weight)
    bias = None if bias is None else in_rows(bias)
    members, outputs, inputs = weight.shape
    out = a.new_empty(members, outputs, a.shape[-1])
    run = _forward(a.dtype)

    def part(start: int, stop: int) -> None:
        shape = _Shape(stop - start, inputs, outputs, a.shape[-1])
        run(
            ctypes.byref(shape), *_rows(a, start), *_rows(weight, start), *_rows(bias, start),
            address(out, start), int(relu),
        )  # fmt: skip

    over_members(members, part)
    return out


def backward(
    a: Tensor,
    weight: Tensor,
    grad: Tensor,
    relu_out: Tensor | None,
    d_weight: Tensor,
    d_bias: Tensor | None,
    wanted: bool,
) -> Tensor | None:
    """Undo `forward`.

    Args:
        a: Its inputs.
        weight: Its weights.
        grad: Gradient of its outputs.
        relu_out: Its outputs, if they went through ReLU.
        d_weight: Written to: gradient of the weights, each member's part contiguous.
        d_bias: Written to: gradient of the biases, if there are any.
        wanted: Whether the inputs' gradient is.

    Returns:
        Gradient of the inputs ``[P, inputs, b]``, or None.
    """
    a, weight, grad = a.contiguous(), in_rows(weight), grad.contiguous()
    members, outputs, inputs = weight.shape
    d_input = a.new_empty(members, *a.shape[1:]) if wanted else None
    run = _backward(a.dtype)

    def part(start: int, stop: int) -> None:
        shape = _Shape(stop - start, inputs, outputs, a.shape[-1])
        run(
            ctypes.byref(shape), *_rows(a, start), *_rows(weight, start), address(grad, start),
            None if relu_out is None else address(relu_out, start),
            *_rows(d_weight, start), *_rows(d_bias, start),
            None if d_input is None else address(d_input, start),
        )  # fmt: skip

    over_members(members, part)
    return d_input


def _rows(tensor: Tensor | None, start: int) -> tuple[int | None, int]:
    return (None, 0) if tensor is None else (address(tensor, start), stride(tensor))
