"""Bias, max pooling and ReLU behind a convolution on CUDA in one pass, as memory limits each alone."""

from __future__ import annotations

import torch
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.training.native import cuda

_THREADS = 256
_LARGEST = 2**31 - 1 - _THREADS  # so that no thread counts beyond it
_FILE = "between"


def suits(z: Tensor, window: tuple[int, int]) -> bool:
    """Whether the kernels can run on what a convolution gives, ``[outer, height, width, inner]``."""
    fits = z.numel() > 0 and z.shape[:-1].numel() <= _LARGEST and z.shape[3] <= _LARGEST
    if not fits or z.dtype not in cuda.TYPES_THERE or window[0] > z.shape[1] or window[1] > z.shape[2]:
        return False
    return all(cuda.compiles(_FILE, name, z, before(window)) for name in ("forward", "backward"))


def forward(
    z: Tensor, bias: Tensor | None, window: tuple[int, int], relu: bool, channels_inside: bool
) -> tuple[Tensor, Tensor | None]:
    """What is pooled, ``[outer, height', width', inner]``, and which of its window each number was.

    Args:
        z: Outputs of a convolution without its bias, ``[outer, height, width, inner]``, contiguous.
        bias: One number for each member and channel.
        window: Height and width of the windows, which lie side by side; (1, 1) for no pooling.
        relu: Whether ReLU follows.
        channels_inside: Whether ``inner`` are members and channels, else ``outer`` are.

    Raises:
        EvooptError: Tensors that do not fit each other.
    """
    out, winners, launch = launch_forward(z, bias, window, relu, channels_inside)
    cuda.run(_FILE, "forward", z, launch, before(window))
    return out, winners


def backward(g: Tensor, winners: Tensor, size: tuple[int, int], window: tuple[int, int]) -> Tensor:
    """Gradient before pooling, ``[outer, *size, inner]``, of that behind it.

    Raises:
        EvooptError: Tensors that do not fit each other.
    """
    d_z, launch = launch_backward(g, winners, size, window)
    cuda.run(_FILE, "backward", g, launch, before(window))
    return d_z


def launch_forward(
    z: Tensor, bias: Tensor | None, window: tuple[int, int], relu: bool, channels_inside: bool
) -> tuple[Tensor, Tensor | None, cuda.Launch]:
    """Memory for what `forward` returns, and how its kernel is launched."""
    outer, height, width, inner = _checked(z)
    pooled = (outer, height // window[0], width // window[1], inner)
    channels = inner if channels_inside else outer
    if bias is not None and (bias.shape != (channels,) or bias.device != z.device):
        raise EvooptError(f"the bias of a convolution must be {channels} numbers, not {list(bias.shape)}")
    numbers = torch.float32 if z.dtype == torch.bfloat16 else z.dtype
    given = z if bias is None else bias.to(numbers).contiguous()
    out = z.new_empty(pooled)
    winners = None if window == (1, 1) else torch.empty(pooled, dtype=torch.uint8, device=z.device)
    flags = (bias is not None, winners is not None, channels_inside, relu)
    tensors = [z, given, out, out if winners is None else winners]
    arguments: list[Tensor | int] = [*tensors, *map(int, flags), outer, height, width, inner]
    return out, winners, cuda.Launch(arguments, *_blocks(outer * pooled[1] * pooled[2], inner))


def launch_backward(
    g: Tensor, winners: Tensor, size: tuple[int, int], window: tuple[int, int]
) -> tuple[Tensor, cuda.Launch]:
    """Memory for what `backward` returns, and how its kernel is launched."""
    outer, *pooled, inner = _checked(g)
    if pooled != [size[0] // window[0], size[1] // window[1]]:
        raise EvooptError(f"outputs of {pooled} do not come of {list(size)} in windows of {list(window)}")
    if winners.shape != g.shape or winners.dtype != torch.uint8 or not winners.is_contiguous():
        raise EvooptError(f"the places of the largest must be uint8 {list(g.shape)}")
    d_z = g.new_empty(outer, *size, inner)
    down, across = -(-size[0] // window[0]), -(-size[1] // window[1])
    arguments: list[Tensor | int] = [g, winners, d_z, outer, *size, inner]
    return d_z, cuda.Launch(arguments, *_blocks(outer * down * across, inner))


def before(window: tuple[int, int]) -> str:
    """Lines before the kernels' source."""
    return f"#define KH {window[0]}\n#define KW {window[1]}\n"


def _checked(x: Tensor) -> torch.Size:
    if x.dim() != 4 or not x.is_contiguous() or x.shape[:-1].numel() > _LARGEST or x.shape[-1] > _LARGEST:
        raise EvooptError(
            f"activations must be contiguous [outer, height, width, inner], not {list(x.shape)}"
        )
    return x.shape


def _blocks(places: int, inner: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    beside = min(_THREADS, 32 * -(-inner // 32))
    rows = _THREADS // beside
    return (-(-places // rows), min(65_535, -(-inner // beside)), 1), (beside, rows, 1)
