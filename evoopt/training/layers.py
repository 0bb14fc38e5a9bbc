"""Rewrites of a model that give the same numbers with less work."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor, nn

# Their outputs are not kept for the backward pass, so a ReLU may overwrite them.
_OVERWRITABLE = (nn.Linear, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.MaxPool2d)


def prepare_layers(model: nn.Module) -> nn.Module:
    """Reorder layers of a plain `nn.Sequential`, and of those in it, in place; returns the model.

    ``ReLU, MaxPool2d`` becomes ``MaxPool2d, ReLU``: the maximum commutes with a monotone function, and the
    ReLU then sees a quarter of the numbers. A ReLU behind a layer that does not need its own output for the
    backward pass works in place. Names of parameters do not change. A Sequential that another module owns
    stays as it is: its owner may run its layers one by one and keep what comes between them.
    """
    for part in _parts(model):
        names = list(part._modules)
        for first, second in pairwise(names):
            a, b = part._modules[first], part._modules[second]
            if type(a) is nn.ReLU and type(b) is nn.MaxPool2d and not b.return_indices:
                part._modules[first], part._modules[second] = b, a
        for before, name in pairwise(names):
            layer = part._modules[name]
            if type(layer) is nn.ReLU and type(part._modules[before]) in _OVERWRITABLE:
                part._modules[name] = nn.ReLU(inplace=True)
    return model


def _parts(model: nn.Module) -> Iterator[nn.Module]:
    """Every part that is a plain Sequential, of which only a pass through the whole model runs the layers."""
    if plain_sequential(model):
        if not does_more(model):
            yield model
        for child in model.children():
            yield from _parts(child)


def plain_sequential(model: nn.Module) -> bool:
    """Whether a module does nothing but run its children in order."""
    return isinstance(model, nn.Sequential) and type(model).forward is nn.Sequential.forward


def does_more(model: nn.Module) -> bool:
    """Whether somewhere in a model more happens than the kinds of its modules say."""
    return any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in model.modules())


def all_known(model: nn.Module) -> bool:
    """Whether a model has modules of torch and of this package alone, which run nothing but operations."""
    known = ("torch.nn.modules.", "evoopt.")
    return not does_more(model) and all(type(m).__module__.startswith(known) for m in model.modules())


class Reporting(nn.Module):
    """A model whose buffers may be assigned anew (``self.average = ...``) as it runs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The outputs, and the new buffers by name."""
        before = dict(self.model.named_buffers())
        outputs = self.model(x)
        return outputs, {n: t for n, t in self.model.named_buffers() if t is not before.get(n)}
