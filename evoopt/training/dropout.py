"""Dropout whose random numbers come from outside, so that every engine can use the same masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError

_BATCH_AND_CHANNEL = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_UNSUPPORTED = (nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU)


class GivenDropout(nn.Module):
    """Dropout that compares its rate with uniform numbers handed to it before each step.

    Attributes:
        p: Rate, 0-dim buffer; stacked like every buffer in a population, so each member may have its own.
        uniform: The step's numbers in [0, 1), of the input's shape (or broadcasting to it, where whole
            channels are dropped); a buffer, so that it can be passed to a compiled or vmapped call.
        wanted: Shape the last forward pass needed, read in a dry run.
    """

    p: Tensor
    uniform: Tensor

    def __init__(self, p: float, whole_channels: bool) -> None:
        super().__init__()
        self.register_buffer("p", torch.tensor(float(p), dtype=torch.float64), persistent=False)
        self.register_buffer("uniform", torch.empty(0), persistent=False)
        self.whole_channels = whole_channels
        self.wanted: torch.Size | None = None
        self.dry_run = False

    def forward(self, x: Tensor) -> Tensor:
        """Zero the elements whose number lies below the rate and scale the others by ``1 / (1 - p)``."""
        if not self.training:
            return x
        if self.dry_run:
            self.wanted = _mask_shape(x.shape) if self.whole_channels else x.shape
            return x
        return x * self.mask(self.uniform, self.p, x.dtype)

    @staticmethod
    def mask(uniform: Tensor, p: Tensor, dtype: torch.dtype) -> Tensor:
        """What to multiply activations by: 0 where the number lies below the rate, else ``1 / (1 - p)``."""
        scale = torch.where(p < 1, 1 / (1 - p), torch.zeros_like(p))
        return (uniform >= p.to(uniform.dtype)) * scale.to(dtype)


def with_given_dropout(model: nn.Module) -> nn.Module:
    """Replace every dropout module of a model in place by `GivenDropout`; returns the model.

    Raises:
        EvooptError: A module with randomness of its own that cannot be given from outside.
    """
    for name, child in model._modules.items():  # named_children() leaves repeated layers out
        if child is None:
            continue
        if isinstance(child, (nn.Dropout, *_BATCH_AND_CHANNEL)):
            setattr(model, name, GivenDropout(child.p, isinstance(child, _BATCH_AND_CHANNEL)))
        elif isinstance(child, _UNSUPPORTED) or _hidden_rate(child):
            raise EvooptError(
                f"{type(child).__name__} draws random numbers that cannot be shared by a population; "
                "use nn.Dropout modules instead"
            )
        else:
            with_given_dropout(child)
    return model


def dropouts(model: nn.Module) -> list[tuple[str, GivenDropout]]:
    """The dropout modules of a model with their names, in definition order."""
    return [(name, m) for name, m in model.named_modules() if isinstance(m, GivenDropout)]


class DropoutDraws:
    """Draws the uniform numbers of every dropout module for one step after the other.

    Args:
        model: A model made by `with_given_dropout`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._modules = dropouts(model)
        self._shapes: dict[torch.Size, list[torch.Size]] = {}

    def draw(self, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Numbers for a minibatch ``x``, keyed by the name of each module's ``uniform`` buffer.

        They are drawn on the CPU in float32, whatever the model's device and dtype.
        """
        if not self._modules:
            return {}
        if x.shape not in self._shapes:
            self._shapes[x.shape] = _needed_shapes(self._model, [m for _, m in self._modules], x)
        shapes = self._shapes[x.shape]
        return {
            f"{name}.uniform": torch.rand(shape, generator=generator).to(x.device, non_blocking=True)
            for (name, _), shape in zip(self._modules, shapes, strict=True)
        }


def give(model: nn.Module, draws: dict[str, Tensor]) -> None:
    """Hand a step's numbers to the dropout modules of a single model."""
    for name, module in dropouts(model):
        module.uniform = draws[f"{name}.uniform"]


def _needed_shapes(model: nn.Module, modules: Sequence[GivenDropout], x: Tensor) -> list[torch.Size]:
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for module in modules:
        module.dry_run, module.wanted = True, torch.Size()
    try:
        with torch.no_grad():
            torch.func.functional_call(model, buffers, (x,))  # leaves BatchNorm's own buffers alone
    finally:
        for module in modules:
            module.dry_run = False
    return [module.wanted or torch.Size() for module in modules]


def _mask_shape(shape: torch.Size) -> torch.Size:
    return torch.Size([*shape[:2], *([1] * (len(shape) - 2))])


def _hidden_rate(module: nn.Module) -> bool:
    return isinstance(module, (nn.MultiheadAttention, nn.RNNBase)) and module.dropout > 0
