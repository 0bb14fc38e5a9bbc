"""Tasks that confirm or refute a frozen rule, of kinds that no search and no author has tried it on.

Each function makes a task: ``--tasks reproductions/discovery/confirmation.py:recurrent``.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.tasks import DataOptions, Task, TaskData, models, split_data
from evoopt.tasks.datasets import Normalisation, image_set_loader
from evoopt.tasks.metrics import explained_variance, pixel_variance
from evoopt.tasks.task import SealedSplit, Split

MODULUS = 53


class Recurrent(nn.Module):
    """Reads images ``[n, 1, 28, 28]``, halved to 14 rows of 14 pixels, row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRU(14, 64, batch_first=True)
        self.output = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[n, 10]``."""
        states, _ = self.cell(F.avg_pool2d(x, 2).squeeze(1))
        logits: Tensor = self.output(states[:, -1])
        return logits


class _MixerBlock(nn.Module):
    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.places = nn.Sequential(nn.Linear(places, 32), nn.GELU(), nn.Linear(32, places))
        self.channels = nn.Sequential(nn.Linear(width, 128), nn.GELU(), nn.Linear(128, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.places(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        mixed: Tensor = x + self.channels(self.norms[1](x))
        return mixed


class Mixer(nn.Module):
    """MLP-Mixer (Tolstikhin et al. 2021) of two blocks on images ``[n, 3, 32, 32]`` in patches of 8x8."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(192, 64)
        self.blocks = nn.Sequential(_MixerBlock(16, 64), _MixerBlock(16, 64))
        self.norm = nn.LayerNorm(64)
        self.output = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[n, 10]``."""
        patches = F.unfold(x, 8, stride=8).transpose(1, 2)
        logits: Tensor = self.output(self.norm(self.blocks(self.embedding(patches))).mean(dim=1))
        return logits


class Modular(nn.Module):
    """Adds two numbers ``[n, 2]`` modulo 53: embeddings side by side, then an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(MODULUS, 32)
        self.layers = models.MLP(64, 128, 128, MODULUS)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[n, 53]``."""
        logits: Tensor = self.layers(self.embedding(x).flatten(1))
        return logits


def recurrent() -> Task:
    """Fashion-MNIST by a gated recurrent unit."""
    return Task("recurrent", Recurrent, image_set_loader("fashion_mnist"), batch_size=64)


def mixer() -> Task:
    """CIFAR-10 by an MLP-Mixer."""
    return Task("mixer", Mixer, image_set_loader("cifar10"), batch_size=64)


def modular() -> Task:
    """Sums modulo 53, four of five pairs to learn from."""

    def load(options: DataOptions) -> TaskData:
        pairs = np.stack(np.divmod(np.arange(MODULUS**2), MODULUS), axis=1)
        pairs = np.random.RandomState(0).permutation(pairs)
        sums = pairs.sum(axis=1) % MODULUS
        cut = 4 * len(pairs) // 5
        return split_data(pairs[:cut], sums[:cut], pairs[cut:], sums[cut:], options)

    return Task("modular", Modular, load, batch_size=64)


def denoising() -> Task:
    """Fashion-MNIST's pixels from noisy ones, by convolutions through 32 numbers."""
    clean = image_set_loader("fashion_mnist", Normalisation(255, (0.0,), (1.0,)))

    def noisy(split: Split, seed: int) -> Split:
        noise = torch.randn(split.x.shape, generator=torch.Generator().manual_seed(seed))
        return Split(split.x + 0.3 * noise, split.x.flatten(1))

    def load(options: DataOptions) -> TaskData:
        data = clean(options)
        test = SealedSplit(noisy(data.test._split, 2), options.unseal_test)
        return TaskData(noisy(data.train, 0), noisy(data.validation, 1), test)

    def network() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(1568, 32), nn.Linear(32, 1568), nn.ReLU(), nn.Unflatten(1, (32, 7, 7)),
            nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1), nn.Flatten(),
        )  # fmt: skip

    loss = F.binary_cross_entropy_with_logits
    return Task("denoising", network, load, batch_size=64, loss=loss, metric=pixel_variance)


def friedman() -> Task:
    """A table of ten columns, five of which matter (Friedman 1991), to be regressed."""

    def load(options: DataOptions) -> TaskData:
        rng = np.random.RandomState(0)
        x = rng.uniform(size=(10_000, 10))
        y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
        y = (y - y.mean()) / y.std() + 0.2 * rng.standard_normal(len(y))
        x, y = (x - 0.5) * np.sqrt(12), y[:, None]
        return split_data(x[:8000], y[:8000], x[8000:], y[8000:], options)

    return Task(
        "friedman",
        partial(models.MLP, 10, 64, 64, 1),
        load,
        batch_size=64,
        loss=F.mse_loss,
        metric=explained_variance,
    )
