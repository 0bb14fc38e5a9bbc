"""Mean cross-entropy of stacked outputs ``[P, classes, b]`` and its gradient by a compiled kernel."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from evoopt.training.native.arguments import FLAG, POINTER, TYPES, address, function, numbers, stride
from evoopt.training.native.build import library
from evoopt.training.native.threads import over_members

_cross_entropy = function("cross_entropy", "cross_entropy", (POINTER,) * 5, FLAG)


class _Shape(ctypes.Structure):
    _fields_ = numbers("members classes examples y_stride")


def suits(outputs: Tensor, y: Tensor) -> bool:
    """Whether the compiled kernel can run on these outputs and classes of examples."""
    usual = outputs.is_cpu and outputs.dtype in TYPES and y.is_cpu and y.dtype == torch.int64
    return usual and library("cross_entropy") is not None


def losses_and_gradient(outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor] | None:
    """Losses ``[P]`` and the gradient of their sum, of the shape of ``outputs``.

    Args:
        outputs: Of the members, ``[P, classes, b]``.
        y: Classes of the examples, ``[P or 1, b]``.

    Returns:
        None if there are classes that the outputs do not have.
    """
    outputs, y = outputs.contiguous(), y.contiguous()
    members, classes, examples = outputs.shape
    losses, gradient = outputs.new_empty(members), torch.empty_like(outputs)
    run, valid = _cross_entropy(outputs.dtype), []

    def part(start: int, stop: int) -> None:
        shape = _Shape(stop - start, classes, examples, stride(y))
        addresses = (address(tensor, start) for tensor in (outputs, y, losses, gradient))
        valid.append(run(ctypes.byref(shape), *addresses))

    over_members(members, part)
    return (losses, gradient) if all(valid) else None
