"""A person's own model, looked at before anything is trained: what is wrong with it comes in one line."""

from __future__ import annotations

import copy
import traceback
from typing import Any

import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError, one_line
from evoopt.tasks.seeding import seeded


def fresh_model(make_model: Any, name: str) -> nn.Module:
    """A model in evaluation mode, which can be made anew any number of times; torch's random state stays.

    Args:
        make_model: Makes it, without arguments.
        name: What to call that in messages.

    Raises:
        EvooptError: No such function, no model, one that cannot be trained, or not a new one at each call.
    """
    if isinstance(make_model, nn.Module):
        raise EvooptError(
            f"{name} is a model ({type(make_model).__name__}): pass what makes a fresh one at every call, "
            "a class or lambda: Net()"
        )
    if not callable(make_model):
        raise EvooptError(f"{name} must be a function that makes a model, not {make_model!r}")
    models = []
    for _ in range(2):
        with seeded(0):
            try:
                models.append(make_model())
            except Exception as error:  # a person's own code
                raise EvooptError(f"{name}, called without arguments, raised {one_line(error)}") from error
    model, again = models
    if not isinstance(model, nn.Module):
        raise EvooptError(f"{name} returned {type(model).__name__}: have it return the model")
    tensors = [*model.parameters(), *model.buffers()]
    if any(map(nn.parameter.is_lazy, tensors)):
        raise EvooptError("the model has lazy modules: run it once on an example where it is made")
    if any(t.is_meta for t in tensors):
        raise EvooptError(
            "the model has weights on the device meta, which holds no numbers: make it on the CPU"
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise EvooptError("the model is TorchScript: return the module that it was made of")
    try:
        copy.deepcopy(model)
    except Exception as error:  # torch.nn.utils.weight_norm for one, whose weights are no leaves
        raise EvooptError(f"the model cannot be copied: {one_line(error)}") from error
    if not any(p.requires_grad for p in model.parameters()):
        raise EvooptError("the model has no parameter that is trained (requires_grad)")
    seen = {t.data_ptr() for t in tensors if t.numel()}
    others = [*again.parameters(), *again.buffers()]
    if model is again or any(t.data_ptr() in seen for t in others if t.numel()):
        raise EvooptError(
            "making a model twice gave the same weights in memory, so one training would change the start of "
            "the next; build the model, or copy.deepcopy it, inside the function that makes it"
        )
    if not all(torch.equal(a, b) for a, b in zip(tensors, others, strict=False)):
        raise EvooptError(
            "the model's initial weights do not follow from torch.manual_seed; initialise them with torch's "
            "random numbers, not with numpy's or random's"
        )
    return model.eval()


def floating_dtype(model: nn.Module) -> torch.dtype:
    """The dtype of a model's first floating-point parameter."""
    dtypes = (parameter.dtype for parameter in model.parameters())
    return next((dtype for dtype in dtypes if dtype.is_floating_point), torch.get_default_dtype())


def outputs_of(model: nn.Module, x: Tensor) -> Tensor:
    """The model's outputs on a copy of some inputs, without gradients.

    Raises:
        EvooptError: The model fails; the message names the module that does. Or it returns no tensor.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            outputs = model(x.clone())
    except Exception as error:  # a person's own code
        raise EvooptError(f"{failing_module(model, error)} fails: {one_line(error)}") from error
    if not isinstance(outputs, Tensor):
        raise EvooptError(
            f"the model returns a {type(outputs).__name__}, but populations need one tensor: return the "
            "part that the loss is about"
        )
    if outputs.ndim == 0 or len(outputs) != len(x):
        raise EvooptError(f"the model maps {len(x)} inputs to outputs of shape {tuple(outputs.shape)}")
    return outputs


def failing_module(model: nn.Module, error: BaseException) -> str:
    """The innermost module of a model, or of a copy of it, that was running when it raised, in words."""
    frames = (frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__))
    running = [one for one in frames if isinstance(one, nn.Module)]
    whole = next((one for one in running if type(one) is type(model)), model)
    names = {id(module): name for name, module in whole.named_modules()}
    module = next((one for one in reversed(running) if names.get(id(one))), whole)
    name = names[id(module)]
    return f"{f'module {name!r}' if name else 'the model'} ({type(module).__name__})"
