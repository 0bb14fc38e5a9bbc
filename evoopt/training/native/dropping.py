"""Dropout of stacked activations with given numbers by a compiled kernel, forward and backward alike."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.training.native.arguments import (
    POINTER,
    TYPES,
    Rows,
    by_layout,
    expect,
    function,
    structure,
)
from evoopt.training.native.build import library
from evoopt.training.native.threads import over_members

_apply = function("dropping", "apply", (POINTER,) * 4)
_shape = structure("units places examples u_stride")


def suits(a: Tensor) -> bool:
    """Whether the compiled kernel can run on these activations."""
    return a.is_cpu and a.dtype in TYPES and library("dropping") is not None


def apply(a: Tensor, uniform: Tensor, rates: Tensor) -> Tensor:
    """Activations, or their gradient, times ``1 / (1 - rate)``, and times 0 where they are dropped.

    Args:
        a: ``[P, *features, b]``.
        uniform: Numbers of the same dimensions, of size 1 where members share them or where places of a
            channel do, behind the first feature.
        rates: ``[P]`` in float64.

    Raises:
        EvooptError: Tensors that do not fit each other.
    """
    (shape, about), addresses, _kept = _checked(a, uniform, rates)
    out = a.new_empty(shape)
    over_members(shape[0], _apply(a.dtype), about, *addresses, out.data_ptr())
    return out


@by_layout
def _checked(
    a: Tensor, uniform: Tensor, rates: Tensor
) -> tuple[tuple[tuple[int, ...], Any], tuple[Rows, ...]]:
    """The shape of the outputs, and what the kernel is told about sizes."""
    shape = tuple(getattr(a, "shape", ()))
    if len(shape) < 3:
        raise EvooptError(f"dropout needs activations [members, features, examples], not {list(shape)}")
    members, *features, examples = shape
    given = list(getattr(uniform, "shape", shape))[1:-1]
    # The numbers of whole channels are the same everywhere in them.
    units = next((k for k in range(len(features) + 1) if given[k:] == [1] * len(features[k:])), len(features))
    drawn = (members, *features[:units], *[1] * len(features[units:]), examples)
    rows = (
        expect("activations of dropout", a, a.dtype, shape, whole=True),
        expect("the numbers of dropout", uniform, torch.float32, drawn, shared=True),
        expect("the rates of dropout", rates, torch.float64, (members,), whole=True),
    )
    places = math.prod(features[units:])
    return (shape, _shape(math.prod(features[:units]), places, examples, rows[1][2])), rows
