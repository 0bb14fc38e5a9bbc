"""Uniform numbers of `evoopt.training.counters` by a compiled kernel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evoopt.training.native.arguments import (
    POINTER,
    Rows,
    by_layout,
    expect,
    fitting_memory,
    function,
    setting,
    sizes,
    structure,
)
from evoopt.training.native.build import library, text_of
from evoopt.training.native.threads import over_members

_HERE = f"#define DEVICE\n{text_of('philox.h')}"
_uniforms = function("philox", "uniforms", (POINTER,) * 3, before=_HERE)
_shape = structure("numbers tensor")


def suits(keys: Tensor) -> bool:
    """Whether the compiled kernel can draw on the device of these keys."""
    return keys.is_cpu and library("philox", _HERE) is not None


def uniforms(keys: Tensor, step: int | Tensor, tensor: int, shape: tuple[int, ...]) -> Tensor:
    """Float32 numbers ``[keys, *shape]``; arguments are those of `evoopt.training.counters.uniforms`.

    Raises:
        EvooptError: Keys that are not int64 ``[members]``, or sizes out of range.
    """
    at = step if isinstance(step, Tensor) else torch.tensor([setting("a step", step, 0)])
    members, addresses, _kept = _checked(keys, at)
    own = [setting("a size of random numbers", size, 0) for size in shape]
    out = torch.empty(fitting_memory("random numbers", members, *own), dtype=torch.float32)
    about = _shape(math.prod(own), setting("the number of a tensor", tensor, 0))
    over_members(members, _uniforms(out.dtype), about, *addresses, out.data_ptr())
    return out


@by_layout
def _checked(keys: Tensor, step: Tensor) -> tuple[int, tuple[Rows, ...]]:
    (members,) = sizes("the keys of random numbers", keys, "members")
    return members, (
        expect("the keys of random numbers", keys, torch.int64, (members,), whole=True),
        expect("the step of random numbers", step, torch.int64, (1,)),
    )
