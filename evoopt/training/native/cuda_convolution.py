"""Forward pass of small convolutions on CUDA, with pooling and ReLU, for networks that are only scored.

Layers of a few channels leave a matrix product's tiles almost empty, and copies for it, pooling and ReLU each
move all activations through memory; this kernel reads inputs and writes what is pooled.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.training.native import cuda
from evoopt.training.native.arguments import TYPES, extent

_FILTERS = 8  # of a tile
_THREADS = 128
_LARGEST = 2**31 - 1
_LARGEST_KERNEL, _LARGEST_WINDOW = 49, 4  # numbers: of a thread's registers
_BESIDE = (2, 2)  # outputs of a thread without pooling


def suits(layer: nn.Conv2d, a: Tensor, window: tuple[int, int]) -> bool:
    """Whether the kernel can run this layer, with pooling in such windows, on these activations."""
    if a.dtype not in TYPES or torch.is_autocast_enabled("cuda") or a.numel() == 0:
        return False
    kh, kw = layer.kernel_size
    small = kh * kw <= _LARGEST_KERNEL and window[0] * window[1] <= _LARGEST_WINDOW
    if not small or layer.stride != (1, 1):
        return False
    return cuda.compiles("convolution", "convolve", a, before((kh, kw), window))


def convolve(
    a: Tensor,
    kernels: Tensor,
    bias: Tensor | None,
    padding: tuple[int, int],
    window: tuple[int, int] = (1, 1),
    relu: bool = False,
) -> Tensor:
    """Outputs ``[P, filters, height', width', b]``; arguments as in `evoopt.training.native.convolution`.

    Raises:
        EvooptError: Tensors that do not fit each other, or kernels or windows that do not fit the images.
    """
    out, how = launch(a, kernels, bias, padding, window, relu)
    cuda.run("convolution", "convolve", a, how, before(tuple(kernels.shape[3:]), window))
    return out


def launch(
    a: Tensor,
    kernels: Tensor,
    bias: Tensor | None,
    padding: tuple[int, int],
    window: tuple[int, int],
    relu: bool,
) -> tuple[Tensor, cuda.Launch]:
    """Memory for the outputs, and how the kernel is launched.

    Raises:
        EvooptError: See `convolve`.
    """
    like = kernels.dim() == a.dim() == 5 and kernels.dtype == a.dtype and kernels.device == a.device
    members, filters, channels, kh, kw = kernels.shape if like else (0, 0, 0, 0, 0)
    if not like or a.shape[0] not in (1, members) or a.shape[1] != channels or not members:
        raise EvooptError(
            f"activations {list(a.shape)} and kernels {list(kernels.shape)} of a convolution do not fit"
        )
    if bias is not None and (bias.shape != (members, filters) or bias.dtype != a.dtype):
        raise EvooptError(f"the bias of a convolution must be {[members, filters]}, not {list(bias.shape)}")
    *_, height, width, examples = a.shape
    size = [extent("a convolution", *s) for s in zip((height, width), padding, (kh, kw), strict=True)]
    pools = window != (1, 1)
    down, across = window if pools else _BESIDE
    if pools:
        pooled = [extent("a pooling window", n, 0, k, k) for n, k in zip(size, window, strict=True)]
        places = pooled[0] * pooled[1]
    else:
        pooled, places = size, -(-size[0] // down) * -(-size[1] // across)
    tiles = -(-filters // _FILTERS)
    blocks = members * tiles * places, -(-examples // _THREADS)
    if blocks[0] > _LARGEST or blocks[1] > 65_535 or max(a.shape) > _LARGEST:
        raise EvooptError(f"activations {list(a.shape)} are too large for the CUDA kernel of convolutions")
    tiled = kernels.new_zeros(members, channels, kh, kw, tiles * _FILTERS)
    tiled[..., :filters] = kernels.movedim(1, -1)
    out = a.new_empty(members, filters, *pooled, examples)
    flags = (bias is not None, relu, len(a) == 1)
    about = (channels, height, width, *padding, *size, filters, examples)
    tensors = [a.contiguous(), tiled, tiled if bias is None else bias.contiguous(), out]
    return out, cuda.Launch([*tensors, *map(int, flags), *about], (*blocks, 1), (_THREADS, 1, 1))


def before(kernel_size: tuple[int, ...], window: tuple[int, int]) -> str:
    """Lines before the kernel's source."""
    pools = window != (1, 1)
    down, across = window if pools else _BESIDE
    sizes = {
        "FILTERS": _FILTERS, "POOLS": int(pools), "DOWN": down, "ACROSS": across,
        "KERNEL_DOWN": kernel_size[0], "KERNEL_ACROSS": kernel_size[1],
    }  # fmt: skip
    return "".join(f"#define {name} {value}\n" for name, value in sizes.items())
