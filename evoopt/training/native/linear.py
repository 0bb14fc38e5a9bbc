"""Stacked linear layers, with or without ReLU behind them, by a compiled kernel.

Activations are ``[P or 1, inputs, b]``, weights ``[P, outputs, inputs]`` and biases ``[P, outputs]``; weights
are read and gradients written where they lie, in the rows of a matrix.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from evoopt.training.native.arguments import (
    FLAG,
    NONE,
    POINTER,
    TYPES,
    Rows,
    by_layout,
    expect,
    function,
    sizes,
    structure,
)
from evoopt.training.native.build import library
from evoopt.training.native.threads import over_members

_forward = function("linear", "forward", (POINTER,) * 4 + (FLAG,))
_backward = function("linear", "backward", (POINTER,) * 7)
_shape = structure("inputs outputs examples x_stride w_stride dw_stride b_stride")

_Follows = tuple[tuple[int, int, int], Any]


def suits(a: Tensor, weight: Tensor) -> bool:
    """Whether the compiled kernel can run on these activations and weights."""
    return a.is_cpu and a.dtype in TYPES and weight.dtype == a.dtype and library("linear") is not None


def forward(a: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    """Outputs ``[P, outputs, b]``, negative ones as 0 if ``relu``.

    Raises:
        EvooptError: Tensors that do not fit each other.
    """
    (shape, about), addresses, _kept = _forward_of(a, weight, bias)
    out = a.new_empty(shape)
    over_members(shape[0], _forward(weight.dtype), about, *addresses, out.data_ptr(), relu)
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

    Raises:
        EvooptError: Tensors that do not fit each other.
    """
    (shape, about), addresses, _kept = _backward_of(a, weight, grad, relu_out, d_weight, d_bias)
    d_input = a.new_empty(shape) if wanted else None
    to = None if d_input is None else d_input.data_ptr()
    over_members(shape[0], _backward(weight.dtype), about, *addresses, to)
    return d_input


@by_layout
def _forward_of(a: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[_Follows, tuple[Rows, ...]]:
    """The shape of the outputs, and what the kernel is told about sizes."""
    x, w, (members, outputs, inputs, examples) = _operands(a, weight)
    b = NONE if bias is None else expect("a linear layer's bias", bias, weight.dtype, (members, outputs))
    return ((members, outputs, examples), _shape(inputs, outputs, examples, x[2], w[2], 0, b[2])), (x, w, b)


@by_layout
def _backward_of(
    a: Tensor, weight: Tensor, grad: Tensor, relu_out: Tensor | None, d_weight: Tensor, d_bias: Tensor | None
) -> tuple[_Follows, tuple[Rows, ...]]:
    """The shape of the inputs' gradient, and what the kernel is told about sizes."""
    x, w, (members, outputs, inputs, examples) = _operands(a, weight)
    dtype, out_shape = weight.dtype, (members, outputs, examples)
    g = expect("the gradient of a linear layer's outputs", grad, dtype, out_shape, whole=True)
    out = db = NONE
    if relu_out is not None:
        out = expect("a linear layer's outputs", relu_out, dtype, out_shape, whole=True)
    dw = expect("the gradient of weights", d_weight, dtype, (members, outputs, inputs), written=True)
    if d_bias is not None:
        db = expect("the gradient of a bias", d_bias, dtype, (members, outputs), written=True)
    about = _shape(inputs, outputs, examples, x[2], w[2], dw[2], db[2])
    return ((members, inputs, examples), about), (x, w, g, out, dw, db)


def _operands(a: Tensor, weight: Tensor) -> tuple[Rows, Rows, tuple[int, int, int, int]]:
    """Inputs, weights, and the numbers of members, outputs, inputs and examples."""
    members, outputs, inputs = sizes("a linear layer's weights", weight, "members outputs inputs")
    examples = sizes("a linear layer's inputs", a, "members features examples")[2]
    dtype = weight.dtype
    x = expect("a linear layer's inputs", a, dtype, (members, inputs, examples), shared=True)
    w = expect("a linear layer's weights", weight, dtype, (members, outputs, inputs))
    return x, w, (members, outputs, inputs, examples)
