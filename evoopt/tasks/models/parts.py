"""Layers that go together in many models, and initial weights where they are not PyTorch's."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


def pooled(channels_in: int, channels_out: int, kernel: int, padding: int = 0) -> list[nn.Module]:
    """A convolution with ReLU and 2x2 max pooling."""
    return [nn.Conv2d(channels_in, channels_out, kernel, padding=padding), nn.ReLU(), nn.MaxPool2d(2)]


def hidden(inputs: int, outputs: int, dropout: float) -> list[nn.Module]:
    """A linear layer with ReLU and dropout."""
    return [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]


def initialise(model: nn.Module, weights: Callable[[Tensor], Tensor], bias: float = 0.0) -> None:
    """Set the weights of all linear and convolutional layers in place, and their biases to a constant.

    Args:
        model: Any model.
        weights: In-place initialiser such as `nn.init.xavier_uniform_`, which is Keras' default.
        bias: Value of every bias.
    """
    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            weights(layer.weight)
            if layer.bias is not None:
                nn.init.constant_(layer.bias, bias)
