"""ResNet-20 for CIFAR-10."""

from __future__ import annotations

from torch import Tensor, nn

from evoopt.tasks.models.parts import initialise


class ResNet20(nn.Sequential):
    """Residual network of nine blocks for images ``[n, 3, 32, 32]``; 273,066 trained parameters.

    He et al. (2016) in the form of Keras' ``cifar10_resnet`` version 1, the model of Vose et al. (2019):
    convolutions have biases, and shortcuts that change the shape are convolutions. Its L2 penalty of 1e-4 per
    squared kernel weight is left to the optimizer, where it is a (coupled) weight decay of 2e-4.
    """

    def __init__(self) -> None:
        blocks = [
            _Block(channels_in, channels, stride)
            for channels_in, channels, stride in (
                (16, 16, 1), (16, 16, 1), (16, 16, 1),
                (16, 32, 2), (32, 32, 1), (32, 32, 1),
                (32, 64, 2), (64, 64, 1), (64, 64, 1),
            )
        ]  # fmt: skip
        super().__init__(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            *blocks,
            nn.AvgPool2d(8),
            nn.Flatten(),
            nn.Linear(64, 10),
        )
        initialise(self, lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"))


class _Block(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
        )
        same = channels_in == channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return (self.body(x) + self.shortcut(x)).relu()  # type: ignore[no-any-return]
