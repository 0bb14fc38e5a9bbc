"""Stacked convolutions, with max pooling and ReLU behind them, by a compiled kernel.

Nothing is copied, and of pooled outputs only the largest of a window is ever written. Activations are
``[P or 1, channels, height, width, b]``, kernels ``[P, filters, channels, kh, kw]``; the stride is 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.training.native.arguments import (
    FLAG,
    NONE,
    NUMBER,
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
from evoopt.training.native.pooling import pair
from evoopt.training.native.threads import over_members

_outputs = function(
    "convolution", "forward", (POINTER, POINTER, NUMBER, POINTER, NUMBER, POINTER, POINTER, FLAG, FLAG)
)
_through = function("convolution", "through", (POINTER,) * 5 + (NUMBER,))
_weights = function("convolution", "weights", (POINTER, POINTER, POINTER, NUMBER))

_INPUTS, _OUTPUTS = "a convolution's inputs", "the gradient of a convolution's outputs"
_KERNELS, _BIAS, _PADDING = "a convolution's kernels", "a convolution's bias", "a convolution's padding"
_shape = structure(
    "shared channels height width filters kh kw down right out_height out_width examples "
    "window_height window_width"
)
_NO_WINDOW, _LARGEST_WINDOW = (1, 1), 16  # numbers: a window's outputs stay in the first-level cache


def suits(layer: nn.Conv2d, a: Tensor) -> bool:
    """Whether the compiled kernel can run this layer on these activations."""
    return (
        a.device.type == "cpu"
        and a.dtype in TYPES
        and tuple(layer.stride) == (1, 1)
        and library("convolution") is not None
    )


def pools(layer: nn.MaxPool2d) -> bool:
    """Whether max pooling runs with the convolution before it: windows side by side, without padding."""
    window = pair(layer.kernel_size)
    plain = not layer.ceil_mode and not layer.return_indices and pair(layer.dilation) == (1, 1)
    beside = pair(layer.stride) == window and pair(layer.padding) == (0, 0)
    sized = all(isinstance(side, int) and side > 0 for side in window)
    return plain and beside and sized and 1 < window[0] * window[1] <= _LARGEST_WINDOW


def convolve(
    a: Tensor,
    kernels: Tensor,
    bias: Tensor | None,
    padding: tuple[int, int],
    window: tuple[int, int] = _NO_WINDOW,
    relu: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Outputs ``[P, filters, height', width', b]``: the largest of each window, negative ones 0 if ``relu``.

    Args:
        a: Inputs.
        kernels: Of all members.
        bias: ``[P, filters]``, if there is one.
        padding: Zeros above and below, left and right of the images.
        window: Height and width of the windows of max pooling.
        relu: Whether ReLU follows.

    Returns:
        The outputs, and which number of its window each was; None without pooling.

    Raises:
        EvooptError: Tensors that do not fit each other, or kernels or windows that do not fit the images.
    """
    *_, kh, kw = sizes(_KERNELS, kernels, "members filters channels height width")
    *_, height, width, _ = sizes(_INPUTS, a, "members channels height width examples")
    size = _extents((height, width), (kh, kw), _checked(padding))
    return _forward(a, kernels, bias, padding, size, _checked_window(window, size), relu, flipped=False)


def output_gradient(
    grad: Tensor,
    out: Tensor | None,
    winners: Tensor | None,
    size: tuple[int, int],
    window: tuple[int, int] = _NO_WINDOW,
    d_bias: Tensor | None = None,
) -> Tensor:
    """Gradient of what `convolve` would give without pooling and ReLU, ``[P, filters, *size, b]``.

    Args:
        grad: Gradient of its outputs.
        out: These outputs, if they went through ReLU.
        winners: Which of its window each was, if they were pooled.
        size: Height and width before pooling.
        window: That of the pooling.
        d_bias: Written to: gradient of the bias, if there is one.

    Raises:
        EvooptError: Tensors that do not fit each other.
    """
    shape = tuple(sizes(_OUTPUTS, grad, "members filters height width examples"))
    members, filters, *pooled, examples = shape
    height, width = (setting("a convolution's output size", side, 1) for side in size)
    window, dtype = _checked_window(window, (height, width)), grad.dtype
    if pooled != [height // window[0], width // window[1]]:
        raise EvooptError(
            f"outputs of {pooled} do not come of {[height, width]} in windows of {list(window)}"
        )
    g = expect(_OUTPUTS, grad, dtype, shape, whole=True)
    passed = NONE if out is None else expect("a convolution's outputs", out, dtype, shape, whole=True)
    place = sums = NONE
    if window != _NO_WINDOW:
        place = expect("the places of the largest", winners, torch.uint8, shape, whole=True)  # type: ignore[arg-type]
    if d_bias is not None:
        sums = expect("the gradient of a bias", d_bias, dtype, (members, filters), written=True)
    to, written = grad, None  # the same, and only its sums are wanted
    if out is not None or window != _NO_WINDOW:
        to = grad.new_empty(members, filters, height, width, examples)
        written = to.data_ptr()
    elif d_bias is None:
        return to
    about = _shape(0, 0, 0, 0, filters, 0, 0, 0, 0, height, width, examples, *window)
    over_members(members, _through(dtype), about, g[1], passed[1], place[1], written, *sums[1:])
    return to


def input_gradient(grad: Tensor, kernels: Tensor, padding: tuple[int, int]) -> Tensor:
    """Gradient of the inputs ``[P, channels, height, width, b]`` from that of the outputs.

    It is the convolution of the outputs' gradient with the kernels turned by 180 degrees.

    Raises:
        EvooptError: Tensors that do not fit each other.
    """
    *_, kh, kw = sizes(_KERNELS, kernels, "members filters channels height width")
    *_, height, width, _ = sizes(_OUTPUTS, grad, "members filters height width examples")
    down, right = _checked(padding)
    turned = (kh - 1 - down, kw - 1 - right)  # negative where the images' margins met no kernel
    size = _extents((height, width), (kh, kw), turned)
    return _forward(grad, kernels, None, turned, size, _NO_WINDOW, False, flipped=True)[0]


def kernel_gradient(a: Tensor, grad: Tensor, kernels: Tensor, padding: tuple[int, int]) -> Tensor:
    """Gradient of the kernels, of their shape.

    Raises:
        EvooptError: Tensors that do not fit each other, or kernels that do not fit the images.
    """
    shape = tuple(sizes(_KERNELS, kernels, "members filters channels height width"))
    members, filters, channels, kh, kw = shape
    *_, height, width, examples = sizes(_INPUTS, a, "members channels height width examples")
    size, dtype = _extents((height, width), (kh, kw), _checked(padding)), kernels.dtype
    x = expect(_INPUTS, a, dtype, (members, channels, height, width, examples), shared=True, whole=True)
    g = expect(_OUTPUTS, grad, dtype, (members, filters, *size, examples), whole=True)
    expect(_KERNELS, kernels, dtype, shape)
    d_kernels = kernels.new_empty(shape)
    about = _shape(
        int(x[2] == 0), channels, height, width, filters, kh, kw, *padding, *size, examples, *_NO_WINDOW
    )
    stride = filters * channels * kh * kw
    over_members(members, _weights(dtype), about, x[1], g[1], d_kernels.data_ptr(), stride)
    return d_kernels


def _forward(
    a: Tensor,
    kernels: Tensor,
    bias: Tensor | None,
    padding: tuple[int, int],
    size: tuple[int, int],
    window: tuple[int, int],
    relu: bool,
    flipped: bool,
) -> tuple[Tensor, Tensor | None]:
    members, filters, channels, kh, kw = shape = tuple(kernels.shape)
    if flipped:
        filters, channels = channels, filters
    *_, height, width, examples = a.shape
    dtype, inputs = kernels.dtype, (members, channels, height, width, examples)
    x = expect(_OUTPUTS if flipped else _INPUTS, a, dtype, inputs, shared=not flipped, whole=True)
    w = expect(_KERNELS, kernels, dtype, shape)
    b = NONE if bias is None else expect(_BIAS, bias, dtype, (members, filters))
    pooled = (size[0] // window[0], size[1] // window[1])
    out = a.new_empty(fitting_memory("a convolution", members, filters, *pooled, examples))
    winners = None if window == _NO_WINDOW else torch.empty(out.shape, dtype=torch.uint8)
    to = out.data_ptr(), None if winners is None else winners.data_ptr()
    about = _shape(
        int(x[2] == 0), channels, height, width, filters, kh, kw, *padding, *size, examples, *window
    )
    over_members(members, _outputs(dtype), about, x[1], *w[1:], *b[1:], *to, relu, flipped)
    return out, winners


def _extents(image: tuple[int, int], kernel: tuple[int, int], padding: tuple[int, int]) -> tuple[int, int]:
    """How many places the kernels have down and across."""
    down, across = (extent("a convolution", *sides) for sides in zip(image, padding, kernel, strict=True))
    return down, across


def _checked_window(window: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    down, across = (setting("a pooling window", side, 1) for side in window)
    if down * across > _LARGEST_WINDOW:
        raise EvooptError(
            f"pooling windows of a convolution have up to {_LARGEST_WINDOW} numbers, not {window}"
        )
    for side, extents in zip((down, across), size, strict=True):
        extent("a pooling window", extents, 0, side, side)
    return down, across


def _checked(padding: tuple[int, int]) -> tuple[int, int]:
    down, right = (setting(_PADDING, pad, 0) for pad in padding)
    return down, right
