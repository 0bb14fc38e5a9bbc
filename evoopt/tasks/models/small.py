"""MLPs, and the convolutional networks of Marfinetz (2025) with a smaller one beside them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import nn

from evoopt.tasks.models.parts import hidden, pooled


class MLP(nn.Sequential):
    """Fully connected layers, activations between them; inputs are flattened to ``[n, widths[0]]``.

    Args:
        widths: Number of inputs, of each hidden layer's units, and of outputs.
        activation: Makes what stands between two layers.
    """

    def __init__(self, *widths: int, activation: Callable[[], nn.Module] = nn.ReLU) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), activation()]
        super().__init__(*layers[:-1])


class SmallDigitsCNN(nn.Sequential):
    """Two convolutions for images ``[n, 1, 8, 8]``; 6,090 parameters."""

    def __init__(self) -> None:
        super().__init__(
            *pooled(1, 16, 3, padding=1),
            *pooled(16, 32, 3, padding=1),
            nn.Flatten(),
            nn.Linear(32 * 2 * 2, 10),
        )


class NarrowCNN(nn.Sequential):
    """Two convolutions of 16 and 32 filters and two linear layers, for images ``[n, channels, side, side]``.

    Args:
        channels: Channels of the images.
        side: Their height and width, a multiple of 4.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__(
            *pooled(channels, 16, 3, padding=1),
            *pooled(16, 32, 3, padding=1),
            nn.Flatten(),
            nn.Linear(32 * (side // 4) ** 2, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )


class SmallCNN(nn.Sequential):
    """Two convolutions and two linear layers for images ``[n, 1, 28, 28]``; 824,458 parameters.

    The MNIST and Fashion-MNIST model of Marfinetz (2025).
    """

    def __init__(self) -> None:
        super().__init__(
            *pooled(1, 32, 3, padding=1),
            *pooled(32, 64, 3, padding=1),
            nn.Flatten(),
            *hidden(64 * 7 * 7, 256, 0.3),
            nn.Linear(256, 10),
        )


class CIFAR10CNN(nn.Sequential):
    """Two blocks of two convolutions for images ``[n, 3, 32, 32]``; 2,168,554 parameters.

    The CIFAR-10 model of Marfinetz (2025). Batch normalisation follows only the first convolution of a block,
    as in the published notebook; the paper's text can be read as one after every convolution.
    """

    def __init__(self) -> None:
        super().__init__(
            *_cifar10_block(3, 32),
            *_cifar10_block(32, 64),
            nn.Flatten(),
            *hidden(64 * 8 * 8, 512, 0.5),
            nn.Linear(512, 10),
        )


def _cifar10_block(channels_in: int, channels_out: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_out, 3, padding=1),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
        nn.Conv2d(channels_out, channels_out, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
    ]
