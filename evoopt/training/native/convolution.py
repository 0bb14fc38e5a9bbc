"""Stacked convolutions by a compiled kernel: nothing is copied, most of a core's arithmetic is used.

Activations are ``[P or 1, channels, height, width, b]``, kernels ``[P, filters, channels, kh, kw]``; the
stride is 1.
"""

from __future__ import annotations

from torch import Tensor, nn

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
from evoopt.training.native.threads import over_members

_outputs = function("convolution", "forward", (POINTER, POINTER, NUMBER, POINTER, NUMBER, POINTER, FLAG))
_weights = function("convolution", "weights", (POINTER, POINTER, POINTER, NUMBER))

_INPUTS, _OUTPUTS = "a convolution's inputs", "the gradient of a convolution's outputs"
_KERNELS, _BIAS, _PADDING = "a convolution's kernels", "a convolution's bias", "a convolution's padding"
_shape = structure("shared channels height width filters kh kw down right out_height out_width examples")


def suits(layer: nn.Conv2d, a: Tensor) -> bool:
    """Whether the compiled kernel can run this layer on these activations."""
    return (
        a.device.type == "cpu"
        and a.dtype in TYPES
        and tuple(layer.stride) == (1, 1)
        and library("convolution") is not None
    )


def convolve(a: Tensor, kernels: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    """Outputs ``[P, filters, height', width', b]``.

    Raises:
        EvooptError: Tensors that do not fit each other, or kernels that do not fit the images.
    """
    *_, kh, kw = sizes(_KERNELS, kernels, "members filters channels height width")
    *_, height, width, _ = sizes(_INPUTS, a, "members channels height width examples")
    size = _extents((height, width), (kh, kw), _checked(padding))
    return _forward(a, kernels, bias, padding, size, flipped=False)


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
    return _forward(grad, kernels, None, turned, _extents((height, width), (kh, kw), turned), flipped=True)


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
    about = _shape(int(x[2] == 0), channels, height, width, filters, kh, kw, *padding, *size, examples)
    stride = filters * channels * kh * kw
    over_members(members, _weights(dtype), about, x[1], g[1], d_kernels.data_ptr(), stride)
    return d_kernels


def _forward(
    a: Tensor,
    kernels: Tensor,
    bias: Tensor | None,
    padding: tuple[int, int],
    size: tuple[int, int],
    flipped: bool,
) -> Tensor:
    members, filters, channels, kh, kw = shape = tuple(kernels.shape)
    if flipped:
        filters, channels = channels, filters
    *_, height, width, examples = a.shape
    dtype, inputs = kernels.dtype, (members, channels, height, width, examples)
    x = expect(_OUTPUTS if flipped else _INPUTS, a, dtype, inputs, shared=not flipped, whole=True)
    w = expect(_KERNELS, kernels, dtype, shape)
    b = NONE if bias is None else expect(_BIAS, bias, dtype, (members, filters))
    out = a.new_empty(fitting_memory("a convolution", members, filters, *size, examples))
    about = _shape(int(x[2] == 0), channels, height, width, filters, kh, kw, *padding, *size, examples)
    over_members(members, _outputs(dtype), about, x[1], *w[1:], *b[1:], out.data_ptr(), flipped)
    return out


def _extents(image: tuple[int, int], kernel: tuple[int, int], padding: tuple[int, int]) -> tuple[int, int]:
    """How many places the kernels have down and across."""
    down, across = (extent("a convolution", *sides) for sides in zip(image, padding, kernel, strict=True))
    return down, across


def _checked(padding: tuple[int, int]) -> tuple[int, int]:
    down, right = (setting(_PADDING, pad, 0) for pad in padding)
    return down, right
