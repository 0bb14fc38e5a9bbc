"""Published networks of convolutions, pooling and a dense layer; each is a plain `nn.Sequential`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import nn

from evoopt.tasks.models.parts import hidden, initialise, pooled


class LeNet5(nn.Sequential):
    """LeNet-5 with ReLU, max pooling and dropout, for images ``[n, 1, 28, 28]``; 61,706 parameters.

    The MNIST model of GADAM (Zhang & Gouza 2018): dropout of 0.2 on the fully connected layers.
    """

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__(
            *pooled(1, 6, 5, padding=2),
            *pooled(6, 16, 5),
            nn.Flatten(),
            *hidden(16 * 5 * 5, 120, dropout),
            *hidden(120, 84, dropout),
            nn.Linear(84, 10),
        )


class FacesCNN(nn.Sequential):
    """Two convolutions and two linear layers for faces ``[n, 1, 64, 64]`` of 40 people; 5,593,064 parameters.

    The ORL model of GADAM (Zhang & Gouza 2018), where image size and padding are not given.
    """

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__(
            *pooled(1, 16, 5),
            *pooled(16, 32, 5),
            nn.Flatten(),
            *hidden(32 * 13 * 13, 1024, dropout),
            nn.Linear(1024, 40),
        )


class VariableLeNet(nn.Sequential):
    """LeNet for images ``[n, 1, 28, 28]`` whose seven sizes are hyperparameters; 3,274,634 parameters.

    The MNIST model of Vose et al. (2019), whose optimum (kernels 4 and 4, filters 8 and 18, dense 1024) has
    916,900. Weights are drawn from a normal distribution of standard deviation 0.1 cut off at two of them,
    biases are 0.1.

    Args:
        kernels: Widths of the two kernels; inputs are padded so that images keep their size.
        filters: Channels of the two convolutions.
        dense: Units of the hidden linear layer.
        dropout: Rate at which these are dropped (the published program takes the rate of keeping them).
    """

    def __init__(
        self,
        kernels: tuple[int, int] = (5, 5),
        filters: tuple[int, int] = (32, 64),
        dense: int = 1024,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(
            *_same_convolutions(1, filters, kernels),
            nn.Flatten(),
            *hidden(filters[1] * 7 * 7, dense, dropout),
            nn.Linear(dense, 10),
        )
        initialise(self, partial(nn.init.trunc_normal_, std=0.1, a=-0.2, b=0.2), bias=0.1)


class RPVNetwork(nn.Sequential):
    """Three convolutions for calorimeter images ``[n, 3, 64, 64]``; logits ``[n, 1]``, 137,233 parameters.

    NERSC's classifier of R-parity violating supersymmetry, as in Vose et al. (2019), whose optimum (kernels
    of 4, filters 8, 15 and 28, dense 59) has 114,922. The sigmoid is part of the loss.

    Args:
        kernels: Widths of the three kernels; inputs are padded so that images keep their size.
        filters: Channels of the three convolutions.
        dense: Units of the hidden linear layer.
        dropout: Rate behind the convolutions and behind the hidden layer.
        channels: Channels of the images.
    """

    def __init__(
        self,
        kernels: tuple[int, int, int] = (3, 3, 3),
        filters: tuple[int, int, int] = (8, 16, 32),
        dense: int = 64,
        dropout: float = 0.5,
        channels: int = 3,
    ) -> None:
        super().__init__(
            *_same_convolutions(channels, filters, kernels),
            nn.Dropout(dropout),
            nn.Flatten(),
            *hidden(filters[2] * 8 * 8, dense, dropout),
            nn.Linear(dense, 1),
        )
        initialise(self, nn.init.xavier_uniform_)


def _same_convolutions(channels: int, filters: Sequence[int], kernels: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for out, kernel in zip(filters, kernels, strict=True):
        before, after = (kernel - 1) // 2, kernel // 2
        if before == after:
            layers += pooled(channels, out, kernel, padding=before)
        else:
            layers += [nn.ZeroPad2d((before, after, before, after)), *pooled(channels, out, kernel)]
        channels = out
    return layers
