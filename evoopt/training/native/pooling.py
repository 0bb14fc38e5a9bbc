"""Max pooling of stacked activations ``[P, channels, height, width, b]`` by a compiled kernel."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.training.native.arguments import (
    POINTER,
    TYPES,
    expect,
    extent,
    fitting_memory,
    function,
    setting,
    sizes,
    structure,
)
from evoopt.training.native.build import library
from evoopt.training.native.threads import over_members

_forward, _backward = (function("pooling", name, (POINTER,) * 3) for name in ("forward", "backward"))

_shape = structure(
    "channels height width kh kw stride_down stride_right down right out_height out_width examples"
)
_MOST_PLACES = 255  # the winner's is kept as one byte


def suits(layer: nn.Module, a: Tensor) -> bool:
    """Whether the compiled kernel can run this layer on these activations."""
    if type(layer) is not nn.MaxPool2d or a.device.type != "cpu" or a.dtype not in TYPES:
        return False
    kh, kw = pair(layer.kernel_size)
    plain = not layer.ceil_mode and not layer.return_indices and pair(layer.dilation) == (1, 1)
    return plain and kh * kw <= _MOST_PLACES and library("pooling") is not None


def max_pool(layer: nn.MaxPool2d, a: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The pooled activations, and the function that maps their gradient to that of ``a``.

    Raises:
        EvooptError: Settings of the layer that torch would refuse, too, or activations they do not fit.
    """
    in_shape = tuple(sizes("a pooling layer's inputs", a, "members channels height width examples"))
    members, channels, height, width, examples = in_shape
    window, size = _window(layer, height, width)
    out_shape = fitting_memory("a pooling layer", members, channels, *size, examples)
    about, dtype = _shape(channels, height, width, *window, *size, examples), a.dtype
    inputs = expect("a pooling layer's inputs", a, dtype, in_shape, whole=True)
    out, winners = a.new_empty(out_shape), torch.empty(out_shape, dtype=torch.uint8)
    over_members(members, _forward(dtype), about, inputs[1], out.data_ptr(), winners.data_ptr())

    def back(grad: Tensor) -> Tensor:
        g = expect("the gradient of a pooling layer's outputs", grad, dtype, out_shape, whole=True)
        d_input = grad.new_empty(in_shape)
        over_members(members, _backward(dtype), about, g[1], winners.data_ptr(), d_input.data_ptr())
        return d_input

    return out, back


def _window(layer: nn.MaxPool2d, height: int, width: int) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Sizes, strides and padding of a layer's windows, and how many of them fit an image down and across."""
    kh, kw = (setting("a pooling layer's kernel size", side, 1) for side in pair(layer.kernel_size))
    stride = [setting("a pooling layer's stride", step, 1) for step in pair(layer.stride)]
    padding = [setting("a pooling layer's padding", pad, 0) for pad in pair(layer.padding)]
    if padding[0] > kh // 2 or padding[1] > kw // 2:
        raise EvooptError(
            f"a pooling layer's padding must be at most half of its kernel size {[kh, kw]}, not {padding}"
        )
    if kh * kw > _MOST_PLACES:
        raise EvooptError(f"the pooling kernel takes windows of up to {_MOST_PLACES} numbers, not {kh * kw}")
    down = extent("a pooling layer", height, padding[0], kh, stride[0])
    across = extent("a pooling layer", width, padding[1], kw, stride[1])
    return (kh, kw, *stride, *padding), (down, across)


def pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    """A setting of a layer for both axes of an image."""
    return (value[0], value[-1]) if isinstance(value, tuple | list) else (value, value)
