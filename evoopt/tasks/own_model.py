"""A person's own model, looked at before anything is trained: what it is made by, what numbers it takes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.tasks.files import one_line
from evoopt.tasks.targets import wants_classes
from evoopt.tasks.task import Split


def fresh_model(model_fn: Any) -> nn.Module:
    """Call what makes models; torch's random state stays as it is.

    Raises:
        EvooptError: It is no function, needs arguments, fails, or makes something else.
    """
    if isinstance(model_fn, nn.Module):
        raise EvooptError(
            f"model_fn is a model ({type(model_fn).__name__}): pass what makes a fresh one at every call, "
            "a class or lambda: Net()"
        )
    if not callable(model_fn):
        raise EvooptError(f"model_fn must be a function that makes a model, not {model_fn!r}")
    try:
        with torch.random.fork_rng(devices=[]):
            model = model_fn()
    except Exception as error:  # a person's own code
        raise EvooptError(f"model_fn, called without arguments, raised {one_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise EvooptError(f"model_fn returned {type(model).__name__}: have it return the model")
    return model


def check_function(name: str, function: Any) -> None:
    """Check that a loss or metric can be called with outputs and targets.

    Raises:
        EvooptError: It is a class or cannot be called.
    """
    if isinstance(function, type):
        raise EvooptError(f"{name} is a class: pass an instance, {function.__name__}()")
    if not callable(function):
        raise EvooptError(f"{name} must be a function of outputs and targets, not {function!r}")


def floating_dtype(model: nn.Module) -> torch.dtype:
    """The dtype of a model's first floating-point parameter."""
    dtypes = (parameter.dtype for parameter in model.parameters())
    return next((dtype for dtype in dtypes if dtype.is_floating_point), torch.get_default_dtype())


def check_inputs(model: nn.Module, x: Tensor, name: str) -> None:
    """Check that a model takes the integers ``[n, ...]`` that its inputs are.

    Raises:
        EvooptError: It takes floating-point numbers alone.
    """
    if x.is_floating_point() or _tried(model, x) is not None:
        return
    if _tried(model, x.to(floating_dtype(model))) is not None:
        dtype = str(x.dtype).removeprefix("torch.")
        raise EvooptError(f"{name}: the model does not take inputs of {dtype}: pass x.float()")


def as_loss_wants(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], split: Split) -> Split:
    """Examples with floating-point targets, if they are integers that the loss does not take for classes.

    It does not if they have the outputs' shape, or if it can be differentiated only with floating-point ones.
    """
    if split.y.is_floating_point() or wants_classes(loss):
        return split
    outputs = _tried(model, split.x, loss, split.y)
    if outputs is not None and getattr(outputs, "shape", ())[1:] != split.y.shape[1:]:
        return split
    y = split.y.to(floating_dtype(model))
    return split if _tried(model, split.x, loss, y) is None else Split(split.x, y)


def _tried(model: nn.Module, x: Tensor, loss: Any = None, y: Tensor | None = None) -> Any:
    """Outputs for two examples; None if the model fails, or the loss's derivative by its parameters."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs = model.eval()(x[:2].clone())
            if y is not None:
                torch.autograd.grad(loss(outputs, y[:2].clone()), trained, allow_unused=True)
    except Exception:  # a person's own code
        return None
    return outputs
