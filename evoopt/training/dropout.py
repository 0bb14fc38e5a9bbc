"""Dropout whose random numbers come from outside, so that every engine can use the same masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from evoopt.training.streams import own_draws

_BATCH_AND_CHANNEL = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


class GivenDropout(nn.Module):
    """Dropout that compares its rate with uniform numbers handed to it before each step.

    Attributes:
        p: Rate, 0-dim buffer; stacked like every buffer in a population, so each member may have its own.
        uniform: The step's numbers in [0, 1), of the input's shape (or broadcasting to it, where whole
            channels are dropped); a buffer, so that it can be passed to a compiled or vmapped call. While
            there are none, it draws its own from torch's global random state.
        wanted: Shapes of the numbers that a dry run would have needed, call by call.
    """

    p: Tensor
    uniform: Tensor

    def __init__(self, p: float, whole_channels: bool) -> None:
        super().__init__()
        self.register_buffer("p", torch.tensor(float(p), dtype=torch.float64), persistent=False)
        self.register_buffer("uniform", torch.empty(0), persistent=False)
        self.whole_channels = whole_channels
        self.wanted: list[torch.Size] = []
        self.dry_run = False

    def forward(self, x: Tensor) -> Tensor:
        """Zero the elements whose number lies below the rate and scale the others by ``1 / (1 - p)``."""
        if not self.training:
            return x
        shape = _mask_shape(x.shape) if self.whole_channels else x.shape
        if self.dry_run:
            self.wanted.append(shape)
            return x
        uniform = self.uniform if self.uniform.numel() else torch.rand(shape, device=x.device)
        return x * self.mask(uniform, self.p, x.dtype)

    @staticmethod
    def mask(uniform: Tensor, p: Tensor, dtype: torch.dtype) -> Tensor:
        """What to multiply activations by: 0 where the number lies below the rate, else ``1 / (1 - p)``."""
        scale = torch.where(p < 1, 1 / (1 - p), torch.zeros_like(p))
        return (uniform >= p.to(uniform.dtype)) * scale.to(dtype)


def with_given_dropout(model: nn.Module) -> nn.Module:
    """Replace every dropout module of a model in place by `GivenDropout`; returns the model.

    Embeddings get dense gradients, as the rows of a population need them.
    """
    for parent in list(model.modules()):
        if isinstance(parent, (nn.Embedding, nn.EmbeddingBag)):
            parent.sparse = False
        # named_children() leaves repeated modules out, which draw anew in each place.
        for name, child in parent._modules.items():
            if isinstance(child, (nn.Dropout, *_BATCH_AND_CHANNEL)):
                setattr(parent, name, GivenDropout(child.p, isinstance(child, _BATCH_AND_CHANNEL)))
    return model


def dropouts(model: nn.Module) -> list[tuple[str, GivenDropout]]:
    """The dropout modules of a model with their names, in definition order."""
    return [(name, m) for name, m in model.named_modules() if isinstance(m, GivenDropout)]


class DropoutDraws:
    """Draws the uniform numbers of every dropout module for one step after the other.

    A module that runs more than once in a forward pass, or not at all, gets none and draws its own.

    Args:
        model: A model made by `with_given_dropout`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._modules = dropouts(model)
        self._shapes: dict[torch.Size, dict[str, torch.Size]] = {}

    def draw(self, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Numbers for a minibatch ``x``, keyed by the name of each module's ``uniform`` buffer.

        They are drawn on the CPU in float32, whatever the model's device and dtype.
        """
        if not self._modules:
            return {}
        if x.shape not in self._shapes:
            self._shapes[x.shape] = _needed_shapes(self._model, self._modules, x)
        return {
            f"{name}.uniform": torch.rand(shape, generator=generator).to(x.device, non_blocking=True)
            for name, shape in self._shapes[x.shape].items()
        }


def give(model: nn.Module, draws: dict[str, Tensor]) -> None:
    """Hand a step's numbers to the dropout modules of a single model."""
    for name, module in dropouts(model):
        if f"{name}.uniform" in draws:
            module.uniform = draws[f"{name}.uniform"]


def _needed_shapes(
    model: nn.Module, modules: Sequence[tuple[str, GivenDropout]], x: Tensor
) -> dict[str, torch.Size]:
    """Shape of the numbers for each module that runs once."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for _, module in modules:
        module.dry_run, module.wanted = True, []
    try:
        with torch.no_grad(), own_draws(x.device):
            torch.func.functional_call(model, buffers, (x.clone(),))  # leaves BatchNorm's own buffers alone
    finally:
        for _, module in modules:
            module.dry_run = False
    return {name: module.wanted[0] for name, module in modules if len(module.wanted) == 1}


def _mask_shape(shape: torch.Size) -> torch.Size:
    return torch.Size([*shape[:2], *([1] * (len(shape) - 2))])
