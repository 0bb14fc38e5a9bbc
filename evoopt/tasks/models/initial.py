"""Initial weights that published models ask for, where they are not PyTorch's."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


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
