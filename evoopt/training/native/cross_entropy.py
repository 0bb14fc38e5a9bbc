"""Mean cross-entropy of stacked outputs ``[P, classes, b]`` and its gradient by a compiled kernel."""

from __future__ import annotations

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
    sizes,
    structure,
)
from evoopt.training.native.build import library
from evoopt.training.native.threads import over_members

_cross_entropy = function("cross_entropy", "cross_entropy", (POINTER,) * 4)
_shape = structure("classes examples y_stride")


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

    Raises:
        EvooptError: Tensors that do not fit each other, or outputs without any class.
    """
    (shape, about), addresses, _kept = _checked(outputs, y)
    losses, gradient = outputs.new_empty(shape[0]), outputs.new_empty(shape)
    to = losses.data_ptr(), gradient.data_ptr()
    valid = over_members(shape[0], _cross_entropy(outputs.dtype), about, *addresses, *to)
    return (losses, gradient) if valid else None


@by_layout
def _checked(outputs: Tensor, y: Tensor) -> tuple[tuple[tuple[int, ...], Any], tuple[Rows, ...]]:
    """The shape of the outputs, and what the kernel is told about sizes."""
    shape = members, classes, examples = tuple(sizes("the outputs", outputs, "members classes examples"))
    if classes == 0:
        raise EvooptError("cross-entropy needs outputs of at least one class; the model's have none")
    out = expect("the outputs", outputs, outputs.dtype, shape, whole=True)
    classes_of = expect("the classes of examples", y, torch.int64, (members, examples), shared=True)
    return (shape, _shape(classes, examples, classes_of[2])), (out, classes_of)
