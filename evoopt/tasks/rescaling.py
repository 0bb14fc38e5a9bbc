"""Any task with its weights on random scales: a rule that learns it does not rely on one scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from operator import attrgetter

import torch
from torch import Tensor, nn
from torch.func import functional_call

from evoopt.tasks.task import Task

SUFFIX = "@rescaled"
"""Ends the names of such tasks."""

RANGE = 3.0
"""Scales lie between one divided by it and it, and are uniform in their logarithm."""


class Rescaled(nn.Module):
    """A model whose trained weights are stored divided by scales and multiplied by them in use (Celo2, 2026).

    It computes what the model computes. Its updates differ: in use they are the optimizer's times the scale.
    The scales are one for the model, one for each tensor or one for each weight, with equal chances; they
    are drawn from torch's random state, and buffers.

    Args:
        model: The model, whose weights are divided.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._scales = {name: f"scale_{k}" for k, name in enumerate(trained)}
        level, common = int(torch.randint(3, ())), _draw(())
        for name, p in trained.items():
            scale = (common, _draw(()), _draw(p.shape))[level]
            # Of one shape whatever the level, as members of a population must be.
            self.register_buffer(self._scales[name], scale.to(p.dtype).expand(p.shape).clone())
            p.data.div_(scale)

    def forward(self, x: Tensor) -> Tensor:
        """What the model maps inputs to."""
        # In a population parameters are replaced by tensors, which get_parameter() does not take.
        used = {
            name: attrgetter(name)(self.model) * getattr(self, scale) for name, scale in self._scales.items()
        }
        return functional_call(self.model, used, (x,))  # type: ignore[no-any-return]


def rescaled(task: Task) -> Task:
    """The task with such a model; scales follow from the seed of the initial weights, which stay."""
    return replace(
        task,
        name=f"{task.name}{SUFFIX}",
        make_model=partial(_make, task.make_model),
        description=f"{task.description}, weights on random scales",
    )


def _make(make_model: Callable[[], nn.Module]) -> Rescaled:
    return Rescaled(make_model())


def _draw(shape: tuple[int, ...]) -> Tensor:
    return torch.exp(math.log(RANGE) * (2 * torch.rand(shape) - 1))
