"""Mean cross-entropy of stacked outputs ``[P, classes, b]`` and its gradient by a compiled kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.training.native.arguments import NUMBER, POINTER, TYPES, expect, function, sizes, structure
from evoopt.training.native.build import library
from evoopt.training.native.threads import over_members

_cross_entropy = function("cross_entropy", "cross_entropy", (POINTER, POINTER, NUMBER, POINTER, POINTER))
_shape = structure("classes examples")


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
    shape = members, classes, examples = tuple(sizes("the outputs", outputs, "members classes examples"))
    if classes == 0:
        raise EvooptError("cross-entropy needs outputs of at least one class; the model's have none")
    dtype = outputs.dtype
    out = expect("the outputs", outputs, dtype, shape, whole=True)
    classes_of = expect("the classes of examples", y, torch.int64, (members, examples), shared=True)
    losses, gradient = outputs.new_empty(members), outputs.new_empty(shape)
    valid = over_members(
        members, _cross_entropy(dtype), _shape(classes, examples), out[1], *classes_of[1:],
        losses.data_ptr(), gradient.data_ptr(),
    )  # fmt: skip
    return (losses, gradient) if valid else None
