"""What the zoo is made of: models with data and losses, small data of every kind, layers around others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.modules import Of

N, TRAIN = 32, 24
_source = torch.Generator().manual_seed(7)
VECTORS = torch.randn(N, 6, generator=_source)
IMAGES = torch.randn(N, 1, 6, 6, generator=_source)
SERIES = torch.randn(N, 5, 4, generator=_source)
TOKENS = torch.randint(0, 11, (N, 5), generator=_source)
CLASSES = torch.randint(0, 3, (N,), generator=_source)
REALS = torch.randn(N, 1, generator=_source)
BITS = torch.rand(N, 4, generator=_source) > 0.5
NEXT = torch.where(TOKENS > 7, -100, TOKENS.roll(-1, 1))


@dataclass(frozen=True)
class Case:
    """A model with what it learns.

    Attributes:
        make: Makes a fresh model.
        x: Inputs.
        y: Targets.
        loss: Mean loss.
        refused: Pattern of the line that refuses it; None where it is trained.
    """

    make: Callable[[], nn.Module]
    x: Tensor = VECTORS
    y: Tensor = CLASSES
    loss: Callable[[Any, Tensor], Any] = F.cross_entropy
    refused: str | None = None


def linear(outputs: int = 3) -> Callable[[], nn.Module]:
    return lambda: nn.Linear(6, outputs)


def chain(*layers: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*(layer() for layer in layers))


def between(*layers: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Layers between two linear ones."""
    return chain(lambda: nn.Linear(6, 8), *layers, lambda: nn.Linear(8, 3))


def on_images(*layers: Callable[[], nn.Module], width: int) -> Callable[[], nn.Module]:
    return chain(*layers, nn.Flatten, lambda: nn.Linear(width, 3))


def hidden(run: Callable[[Any, Tensor], Tensor]) -> Callable[[], nn.Module]:
    """What happens between two linear layers."""
    return lambda: Of(lambda m, x: m.out(run(m, m.first(x))), first=nn.Linear(6, 8), out=nn.Linear(8, 3))


def embedded(run: Callable[[Any, Tensor], Tensor], make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """What happens between embedded tokens and a linear layer."""
    return lambda: Of(
        lambda m, x: m.out(run(m.part, m.words(x))),
        words=nn.Embedding(11, 8),
        part=make(),
        out=nn.Linear(8, 3),
    )


def encoder(dropout: float) -> Callable[[], nn.Module]:
    layer = lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=dropout, batch_first=True)  # noqa: E731
    return embedded(lambda part, h: part(h).mean(dim=1), layer)
