"""Dropout whose random numbers come from outside, so that every engine can use the same masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from evoopt.training.counters import keys_of, uniforms
from evoopt.training.streams import own_draws

_KINDS: dict[type[nn.Module], Sequence[int] | None] = {
    nn.Dropout: None, nn.Dropout1d: (3,), nn.Dropout2d: range(65), nn.Dropout3d: (5,)
}  # fmt: skip
"""Dimensions of an input in which those that drop whole channels see a batch; None for single elements."""


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

    def __init__(self, p: float, kind: type[nn.Module]) -> None:
        super().__init__()
        self.register_buffer("p", torch.tensor(float(p), dtype=torch.float64), persistent=False)
        self.register_buffer("uniform", torch.empty(0), persistent=False)
        self._batched = _KINDS[kind]
        self.wanted: list[torch.Size] = []
        self.dry_run = False

    def forward(self, x: Tensor) -> Tensor:
        """Zero the elements whose number lies below the rate and scale the others by ``1 / (1 - p)``."""
        if not self.training:
            return x
        shape = x.shape
        if self._batched is not None:
            drawn = 2 if x.dim() in self._batched else 1
            shape = torch.Size([*shape[:drawn], *([1] * (x.dim() - drawn))])
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
            # A class of one's own may do more.
            if child is not None and type(child) in _KINDS:
                setattr(parent, name, GivenDropout(child.p, type(child)))  # type: ignore[arg-type]
    return model


def dropouts(model: nn.Module) -> list[tuple[str, GivenDropout]]:
    """The dropout modules of a model with their names, in definition order."""
    return [(name, m) for name, m in model.named_modules() if isinstance(m, GivenDropout)]


class DropoutDraws:
    """Draws the uniform numbers of every dropout module for any step.

    A module that runs more than once in a forward pass, or not at all, gets none and draws its own.

    Args:
        model: A model made by `with_given_dropout`.
        seeds: One for all members, or one for each.
        device: Where they are drawn.
    """

    def __init__(self, model: nn.Module, seeds: Sequence[int], device: torch.device) -> None:
        self._model = model
        self._modules = dropouts(model)
        self._keys = keys_of(seeds, device)
        self._shapes: dict[torch.Size, list[tuple[str, int, torch.Size]]] = {}

    def draw(self, x: Tensor, step: int | Tensor) -> dict[str, Tensor]:
        """Numbers in float32 by the name of each module's ``uniform`` buffer.

        Args:
            x: A minibatch ``[b, ...]``; with several seeds ``[seeds, b, ...]``, and so are the numbers.
            step: See `uniforms`.
        """
        if not self._modules:
            return {}
        shared = len(self._keys) == 1
        x = x if shared else x[0]
        if x.shape not in self._shapes:
            self._shapes[x.shape] = _needed_shapes(self._model, self._modules, x)
        needed = self._shapes[x.shape]
        drawn = {f"{name}.uniform": uniforms(self._keys, step, k, shape) for name, k, shape in needed}
        return {name: numbers[0] for name, numbers in drawn.items()} if shared else drawn


def give(model: nn.Module, draws: dict[str, Tensor]) -> None:
    """Hand a step's numbers to the dropout modules of a single model."""
    for name, module in dropouts(model):
        if f"{name}.uniform" in draws:
            module.uniform = draws[f"{name}.uniform"]


def _needed_shapes(
    model: nn.Module, modules: Sequence[tuple[str, GivenDropout]], x: Tensor
) -> list[tuple[str, int, torch.Size]]:
    """Name, number and shape of what is drawn, for each module that runs once."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for _, module in modules:
        module.dry_run, module.wanted = True, []
    try:
        with torch.no_grad(), own_draws(x.device):
            torch.func.functional_call(model, buffers, (x.clone(),))  # leaves BatchNorm's own buffers alone
    finally:
        for _, module in modules:
            module.dry_run = False
    return [(name, k, m.wanted[0]) for k, (name, m) in enumerate(modules) if len(m.wanted) == 1]
