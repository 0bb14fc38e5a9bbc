"""Modules that the zoo cannot write in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Of(nn.Module):
    """Parts, and a function of them and the input: ``Of(lambda m, x: m.out(x), out=nn.Linear(6, 3))``."""

    def __init__(self, run: Callable[[Any, Tensor], Any], **parts: Any) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


class Plain(nn.Module):
    """Can be scripted and compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.hidden(x)))


class StepByStep(nn.Module):
    """An LSTM cell in a Python loop, from a state that is made in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.LSTMCell(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = memory = torch.zeros(len(x), 6, dtype=x.dtype, device=x.device)
        for step in x.unbind(dim=1):
            hidden, memory = self.cell(step, (hidden, memory))
        return self.out(hidden)


class TiedWords(nn.Module):
    """Predicts words with the matrix that embeds them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.middle = nn.Embedding(11, 8), nn.Linear(8, 8)
        self.out = nn.Linear(8, 11)
        self.out.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.middle(self.embedding(x)))).movedim(-1, 1)


class Moods(nn.Module):
    """Python control flow that depends on what was computed."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.hidden(x)
        h = torch.relu(h) if h.mean() > 0 else torch.tanh(h)
        while h.abs().max() > 1:
            h = h / 2
        return self.out(h)


class Average(nn.Module):
    """Keeps a moving average of its outputs, which it assigns anew."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(6, 3)
        self.register_buffer("average", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        outputs = self.out(x)
        if self.training:
            self.average = 0.9 * self.average + 0.1 * outputs.detach().mean(dim=0)
        return outputs - self.average


class Counter(nn.Module):
    """Counts its training steps in an integer buffer; has one that is None, too, and one unsaved."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(6, 3)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("nothing", None)
        self.register_buffer("scale", torch.ones(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
        return self.out(x) * self.scale / (1 + self.steps)


class StillNorm(nn.Module):
    """Fine-tunes with a normalisation that stays in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.out = nn.BatchNorm1d(6), nn.Linear(6, 3)

    def train(self, mode: bool = True) -> StillNorm:
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(x))


class StraightThrough(torch.autograd.Function):
    """Signs, with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class Recomputed(Plain):
    """Computes its activations a second time instead of keeping them."""

    def forward(self, x: Tensor) -> Tensor:
        return self.out(checkpoint(lambda t: torch.tanh(self.hidden(t)), x, use_reentrant=False))


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    model[0].register_forward_hook(lambda module, inputs, outputs: outputs * 2)
    return model


def tied_layers() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
    model[2].weight = model[0].weight
    return model


def layer_met_twice() -> nn.Module:
    layer = nn.Linear(6, 6)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(6, 3))


def partly_frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    model[0].requires_grad_(False)
    return model


def unpooling() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        pooled, where = F.max_pool2d(m.first(x), 2, return_indices=True)
        return m.out(F.max_unpool2d(pooled, where, 2).flatten(1))

    return Of(run, first=nn.Conv2d(1, 2, 3, padding=1), out=nn.Linear(72, 3))
