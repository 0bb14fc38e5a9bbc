"""Stacked linear layers, with or without ReLU behind them, by a compiled kernel.

Activations are ``[P or 1, inputs, b]``, weights ``[P, outputs, inputs]`` and biases ``[P, outputs]``; weights
are read and gradients written where they lie, in the rows of a matrix.
"""

from __future__ import annotations

from torch import Tensor

from evoopt.training.native.arguments import (
    FLAG,
    NONE,
    NUMBER,
    POINTER,
    TYPES,
    Rows,
    expect,
    function,
    sizes,
    structure,
)
from evoopt.training.native.build import library
from evoopt.training.native.threads import over_members

_MEMBERS = (POINTER, NUMBER)
_forward = function("linear", "forward", (*_MEMBERS * 3, POINTER, FLAG))
_backward = function("linear", "backward", (*_MEMBERS * 2, POINTER, POINTER, *_MEMBERS * 2, POINTER))
_shape = structure("inputs outputs examples")


def suits(a: Tensor, weight: Tensor) -> bool:
    """Whether the compiled kernel can run on these activations and weights."""
    return a.is_cpu and a.dtype in TYPES and weight.dtype == a.dtype and library("linear") is not None


def forward(a: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    """Outputs ``[P, outputs, b]``, negative ones as 0 if ``relu``.

    Raises:
        EvooptError: Tensors that do not fit each other.
    """
    x, w, (members, outputs, inputs, examples) = _operands(a, weight)
    b = NONE if bias is None else expect("a linear layer's bias", bias, weight.dtype, (members, outputs))
    out = a.new_empty(members, outputs, examples)
    about = _shape(inputs, outputs, examples)
    over_members(members, _forward(weight.dtype), about, *x[1:], *w[1:], *b[1:], out.data_ptr(), relu)
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
    x, w, (members, outputs, inputs, examples) = _operands(a, weight)
    dtype, out_shape = weight.dtype, (members, outputs, examples)
    g = expect("the gradient of a linear layer's outputs", grad, dtype, out_shape, whole=True)
    out = db = NONE
    if relu_out is not None:
        out = expect("a linear layer's outputs", relu_out, dtype, out_shape, whole=True)
    dw = expect("the gradient of weights", d_weight, dtype, (members, outputs, inputs), written=True)
    if d_bias is not None:
        db = expect("the gradient of a bias", d_bias, dtype, (members, outputs), written=True)
    d_input = a.new_empty(members, inputs, examples) if wanted else None
    over_members(
        members, _backward(dtype), _shape(inputs, outputs, examples), *x[1:], *w[1:], g[1], out[1],
        *dw[1:], *db[1:], None if d_input is None else d_input.data_ptr(),
    )  # fmt: skip
    return d_input


def _operands(a: Tensor, weight: Tensor) -> tuple[Rows, Rows, tuple[int, int, int, int]]:
    """Inputs, weights, and the numbers of members, outputs, inputs and examples."""
    members, outputs, inputs = sizes("a linear layer's weights", weight, "members outputs inputs")
    examples = sizes("a linear layer's inputs", a, "members features examples")[2]
    dtype = weight.dtype
    x = expect("a linear layer's inputs", a, dtype, (members, inputs, examples), shared=True)
    w = expect("a linear layer's weights", weight, dtype, (members, outputs, inputs))
    return x, w, (members, outputs, inputs, examples)
