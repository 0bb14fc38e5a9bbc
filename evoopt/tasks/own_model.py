"""What numbers a person's own model and loss take."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.tasks.model_checks import floating_dtype, outputs_of
from evoopt.tasks.targets import wants_classes
from evoopt.tasks.task import Split

_EXAMPLES = 2


def check_function(name: str, function: Any) -> None:
    """Check that a loss or metric can be called with outputs and targets.

    Raises:
        EvooptError: It is a class or cannot be called.
    """
    if isinstance(function, type):
        raise EvooptError(f"{name} is a class: pass an instance, {function.__name__}()")
    if not callable(function):
        raise EvooptError(f"{name} must be a function of outputs and targets, not {function!r}")


def check_inputs(model: nn.Module, x: Tensor, name: str) -> None:
    """Check that a model takes the integers or complex numbers ``[n, ...]`` that its inputs are.

    Raises:
        EvooptError: It takes floating-point numbers alone.
    """
    if x.is_floating_point() or _outputs(model, x) is not None:
        return
    plain, cure = x, "x.float()"
    if x.is_complex():
        plain, cure = x.real, "torch.view_as_real(x), real and imaginary part side by side"
    if _outputs(model, plain.to(floating_dtype(model))) is not None:
        dtype = str(x.dtype).removeprefix("torch.")
        raise EvooptError(f"{name}: the model does not take inputs of {dtype}: pass {cure}")


def as_loss_wants(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], split: Split) -> Split:
    """Examples with floating-point targets, if they are integers that the loss does not take for classes.

    It does not if they have the outputs' shape, or if it can be differentiated only with floating-point ones.
    """
    if split.y.is_floating_point() or wants_classes(loss) or (outputs := _outputs(model, split.x)) is None:
        return split
    if outputs.shape[1:] != split.y.shape[1:] and _differentiable(loss, outputs, split.y):
        return split
    y = split.y.to(floating_dtype(model))
    return Split(split.x, y) if _differentiable(loss, outputs, y) else split


def _outputs(model: nn.Module, x: Tensor) -> Tensor | None:
    """Outputs for some examples; None if the model fails."""
    try:
        return outputs_of(model, x[:_EXAMPLES])
    except EvooptError:
        return None


def _differentiable(loss: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, y: Tensor) -> bool:
    """Whether a loss takes such targets and has a derivative by the outputs."""
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs = outputs.clone().requires_grad_()
            torch.autograd.grad(loss(outputs.clone(), y[:_EXAMPLES].clone()), outputs)
    except Exception:  # a person's own code
        return False
    return True
