"""A training that every framework repeats: a small model, twelve minibatches, the weights at the end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset

from tests.export.subjects import CLASSES

BATCHES = 12
SOME = {name: CLASSES[name] for name in ("lion", "marfinetz2025", "every_term", "warmup")}
"""With and without a schedule, bias correction and moments."""


def make_model() -> nn.Module:
    """The same weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 3))


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(4 * BATCHES, 6, generator=generator)
    return TensorDataset(inputs, inputs[:, :3].argmax(dim=1))


def loader() -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(data(), batch_size=4)


def loss_of(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def plain_loop(model: nn.Module, optimizer: Optimizer, accumulate: int = 1) -> list[Tensor]:
    """Train in torch alone."""
    for k, batch in enumerate(loader(), 1):
        (loss_of(model, batch) / accumulate).backward()
        if k % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
    return weights(model)


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]
