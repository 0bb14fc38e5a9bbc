"""The networks that Esfahanian and Akhavan (2019), *GACNN*, train genetically, and their tasks; no biases."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.tasks.datasets import CIFAR10, Normalisation, image_set_loader, load_digits
from evoopt.tasks.models.glorot import glorot_normal_
from evoopt.tasks.models.parts import initialise
from evoopt.tasks.task import DataOptions, SealedSplit, Split, Task, TaskData

_LUMA = (0.299, 0.587, 0.114)  # of ITU-R BT.601
GRAYSCALE_CIFAR10 = Normalisation(1, (0.4809,), (0.2392,))


class GeneticMNISTNet(nn.Sequential):
    """Four convolutions and two linear layers for images ``[n, 1, 28, 28]``; 4,540 parameters.

    The publication prints two readings that contradict each other in one place each.

    Args:
        variant: ``"116"`` has 20 filters of 2x2 in the second convolution, hence 116 filters and neurons;
            ``"136"`` has 40 filters of 2x1 there and 5 of 2x1 in the third, hence 136.

    Raises:
        EvooptError: Another variant.
    """

    def __init__(self, variant: Literal["116", "136"] = "116") -> None:
        if variant not in ("116", "136"):
            raise EvooptError(f"the MNIST network has the variants '116' and '136', not {variant!r}")
        filters, width = (20, 2) if variant == "116" else (40, 1)
        super().__init__(
            *_same(1, 40, 2, 2), nn.ReLU(), nn.MaxPool2d(2),
            *_same(40, filters, 2, width), nn.ReLU(), nn.MaxPool2d(2),
            *_same(filters, 5, 2, width), nn.ReLU(), nn.MaxPool2d(2),
            *_same(5, 1, 2, 2), nn.ReLU(),
            nn.Flatten(), nn.Linear(9, 40, bias=False), nn.ReLU(), nn.Linear(40, 10, bias=False),
        )  # fmt: skip
        initialise(self, glorot_normal_)


class GeneticLeNet(nn.Sequential):
    """A LeNet for images ``[n, channels, 32, 32]``; 291,870 parameters with one channel, 292,170 with three.

    The printed parameters are those of one channel: CIFAR-10 in grayscale.
    """

    def __init__(self, channels: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels, 6, 5, padding=2, bias=False), nn.ReLU(), nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5, padding=2, bias=False), nn.ReLU(), nn.AvgPool2d(2),
            nn.Conv2d(16, 120, 5, padding=2, bias=False), nn.ReLU(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(4 * 4 * 120, 120, bias=False), nn.ReLU(),
            nn.Linear(120, 84, bias=False), nn.ReLU(), nn.Linear(84, 10, bias=False),
        )  # fmt: skip
        initialise(self, glorot_normal_)


class GeneticDigitsNet(nn.Sequential):
    """Two convolutions and two linear layers for images ``[n, 1, 8, 8]``; 1,552 parameters, 50 genes."""

    def __init__(self) -> None:
        super().__init__(
            *_same(1, 12, 2, 2), nn.ReLU(), nn.MaxPool2d(2),
            *_same(12, 12, 2, 2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(48, 16, bias=False), nn.ReLU(), nn.Linear(16, 10, bias=False),
        )  # fmt: skip
        initialise(self, glorot_normal_)


def _same(channels: int, filters: int, height: int, width: int) -> list[nn.Module]:
    """A convolution that keeps the size; like Keras, it pads an even kernel at the bottom and right."""
    padding = nn.ZeroPad2d((0, width - 1, 0, height - 1))
    return [padding, nn.Conv2d(channels, filters, (height, width), bias=False)]


def load_grayscale_cifar10(options: DataOptions) -> TaskData:
    """Load CIFAR-10 as luminance ``[n, 1, 32, 32]``, normalised."""
    data = image_set_loader("cifar10")(options)
    test = SealedSplit(_grayscale(data.test._split), options.unseal_test)  # repainted, not looked at
    return TaskData(_grayscale(data.train), _grayscale(data.validation), test)


def _grayscale(split: Split) -> Split:
    luma = torch.tensor(_LUMA).view(1, -1, 1, 1)
    weights = luma * torch.tensor(CIFAR10.std).view(1, -1, 1, 1)
    black: Tensor = (luma * torch.tensor(CIFAR10.mean).view(1, -1, 1, 1)).sum()
    return Split(GRAYSCALE_CIFAR10((split.x * weights).sum(dim=1, keepdim=True) + black), split.y)


GENETIC_TASKS = (
    Task(
        "genetic_digits",
        GeneticDigitsNet,
        load_digits,
        batch_size=32,
        description="scikit-learn's 8x8 digits (embedded), CNN with 1,552 parameters and 50 genes",
        family="images",
    ),
    Task(
        "genetic_mnist",
        GeneticMNISTNet,
        image_set_loader("mnist"),
        batch_size=32,
        description="MNIST, CNN with 4,540 parameters and 116 genes",
        family="images",
    ),
    Task(
        "genetic_mnist_136",
        partial(GeneticMNISTNet, "136"),
        image_set_loader("mnist"),
        batch_size=32,
        description="MNIST, CNN with 4,540 parameters and 136 genes, the other reading of the publication",
        family="images",
    ),
    Task(
        "genetic_cifar10_rgb",
        partial(GeneticLeNet, 3),
        image_set_loader("cifar10"),
        batch_size=32,
        description="CIFAR-10 in colour, LeNet with 292,170 parameters and 356 genes",
        family="images",
    ),
    Task(
        "genetic_cifar10",
        GeneticLeNet,
        load_grayscale_cifar10,
        batch_size=32,
        description="CIFAR-10 in grayscale, LeNet with 291,870 parameters and 356 genes",
        family="images",
    ),
)
"""The networks on their data."""
