"""Batch normalisation of stacked activations, with or without ReLU behind it, by a compiled kernel.

Ioffe and Szegedy (2015), "Batch normalization: accelerating deep network training by reducing internal
covariate shift". Activations are ``[P or 1, channels, *places, b]``; mean and 1 / deviation of a channel are
kept in ``[P, channels, 2]``.
"""

from __future__ import annotations

import ctypes
import math

import torch
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.training.native.arguments import (
    FLAG,
    NONE,
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

_INPUTS = "activations to normalise"
_REAL = ctypes.c_double
_forward = function("batch_norm", "forward", (*(POINTER,) * 5, _REAL, _REAL, FLAG, POINTER, POINTER))
_backward = function("batch_norm", "backward", (POINTER,) * 8)
_shape = structure("channels numbers x_stride w_stride b_stride dw_stride db_stride of_batch")


def suits(a: Tensor) -> bool:
    """Whether the compiled kernel can run on these activations; torch refuses a channel of one number."""
    usual = a.is_cpu and a.dtype in TYPES and a.shape[2:].numel() > 1
    return usual and library("batch_norm") is not None


def forward(
    a: Tensor,
    members: int,
    weight: Tensor | None,
    bias: Tensor | None,
    running: tuple[Tensor, Tensor] | None,
    of_batch: bool,
    momentum: float,
    eps: float,
    relu: bool = False,
) -> tuple[Tensor, Tensor]:
    """Outputs ``[P, channels, *places, b]``, negative ones as 0 if ``relu``, and what they are normalised by.

    Args:
        a: Inputs.
        members: P.
        weight: ``[P, channels]``, if there is one.
        bias: Likewise.
        running: Mean and variance ``[P, channels]``, if they are kept.
        of_batch: Whether a channel is normalised by its own mean and variance, which then are added to those
            that are kept.
        momentum: The weight that they are added with.
        eps: What is added to a variance.
        relu: Whether ReLU follows.

    Raises:
        EvooptError: Tensors that do not fit each other.
    """
    shape, dtype = _shape_of(a, members), a.dtype
    if not of_batch and running is None:
        raise EvooptError("batch normalisation by running statistics needs some")
    x = expect(_INPUTS, a, dtype, shape, shared=True, whole=True)
    w, b = (_per_channel(what, t, shape, dtype) for what, t in (("weights", weight), ("biases", bias)))
    mean, var = (
        (NONE, NONE)
        if running is None
        else (
            expect(f"the running {what}", t, dtype, shape[:2], whole=True, written=True)
            for what, t in zip(("means", "variances"), running, strict=True)
        )
    )
    out, by = a.new_empty(shape), a.new_empty(*shape[:2], 2)
    about = _shape(shape[1], math.prod(shape[2:]), x[2], w[2], b[2], 0, 0, of_batch)
    addresses = x[1], w[1], b[1], mean[1], var[1], momentum, eps, relu, out.data_ptr(), by.data_ptr()
    over_members(members, _forward(dtype), about, *addresses)
    return out, by


def backward(
    a: Tensor,
    weight: Tensor | None,
    grad: Tensor,
    by: Tensor,
    relu_out: Tensor | None,
    d_weight: Tensor | None,
    d_bias: Tensor | None,
    of_batch: bool,
) -> Tensor:
    """Gradient of the inputs ``[P, channels, *places, b]`` of `forward`.

    Args:
        a: Its inputs.
        weight: Its weights, if there are any.
        grad: Gradient of its outputs.
        by: What they were normalised by.
        relu_out: Its outputs, if they went through ReLU.
        d_weight: Written to: gradient of the weights.
        d_bias: Written to: gradient of the biases.
        of_batch: As before.

    Raises:
        EvooptError: Tensors that do not fit each other.
    """
    members = sizes("what activations are normalised by", by, "members channels two")[0]
    shape, dtype = _shape_of(a, members), a.dtype
    x = expect(_INPUTS, a, dtype, shape, shared=True, whole=True)
    w = _per_channel("weights", weight, shape, dtype)
    g = expect("the gradient of normalised activations", grad, dtype, shape, whole=True)
    kept = expect("what activations are normalised by", by, dtype, (*shape[:2], 2), whole=True)
    out = NONE
    if relu_out is not None:
        out = expect("normalised activations", relu_out, dtype, shape, whole=True)
    dw, db = (
        NONE if t is None else expect(f"the gradient of {what}", t, dtype, shape[:2], written=True)
        for what, t in (("weights", d_weight), ("biases", d_bias))
    )
    d_input = a.new_empty(shape)
    about = _shape(shape[1], math.prod(shape[2:]), x[2], w[2], 0, dw[2], db[2], of_batch)
    addresses = x[1], w[1], out[1], g[1], kept[1], dw[1], db[1], d_input.data_ptr()
    over_members(members, _backward(dtype), about, *addresses)
    return d_input


def _shape_of(a: Tensor, members: int) -> tuple[int, ...]:
    shape = tuple(getattr(a, "shape", ()))
    if not 3 <= len(shape) <= 5:
        raise EvooptError(f"{_INPUTS} must be [members, channels, *places, examples], not {list(shape)}")
    return (members, *shape[1:])


def _per_channel(what: str, tensor: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype) -> Rows:
    return NONE if tensor is None else expect(f"the {what} of channels", tensor, dtype, shape[:2])
