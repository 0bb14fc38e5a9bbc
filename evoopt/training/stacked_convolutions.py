"""Convolutions of stacked activations with what follows them, by whatever runs them best.

On a CPU a compiled kernel does all of it. Elsewhere a product comes first, then bias, pooling and ReLU in one
pass over memory. Products of few channels are made on copies of what every kernel element meets, with the
examples innermost in memory; those of many channels are grouped convolutions of images with the channels of
all members innermost, ``[b, H, W, P * C]``, which tensor cores read best. Both are ``[P, C, H, W, b]`` by
their strides, so that other layers need not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.training.native import convolution, cuda_between, cuda_convolution, pooling

Tensors = Mapping[str, Tensor]
Back = Callable[[Tensor, bool], tuple[Tensor | None, dict[str, Tensor]]]
Rule = Callable[[Any, Tensors, Tensor], tuple[Tensor, Back]]

_MANY = 32  # channels: measured with 1 and 32 of them
_ALIGNED = 8  # numbers: rows of a product's operands on tensor cores

_Product = tuple[Tensor, Back, bool]
"""What a layer's product gives, how it is undone, and whether its bias is in it."""


def convolve(
    layer: nn.Conv2d, tensors: Tensors, a: Tensor, pooled: nn.MaxPool2d | None = None, relu: bool = False
) -> tuple[Tensor, Back]:
    """A convolution, then max pooling and ReLU where they follow; see `evoopt.training.stacked_layers`."""
    if convolution.suits(layer, a):
        return _by_kernel(layer, tensors, a, pooled, relu)
    weight, bias, window = tensors["weight"], tensors.get("bias"), _window(pooled)
    way = _way_on_cuda(layer, len(weight), len(a)) if _on_cuda(a) else _columns
    if not layer.training and way is not _grouped and cuda_convolution.suits(layer, a, window):
        return cuda_convolution.convolve(a, weight, bias, _padding(layer), window, relu), _not_trained
    z, undo, with_bias = way(layer, weight, bias, a)
    out, undo_rest = _behind(z, None if with_bias else bias, pooled, relu)

    def back(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        d_z, d_bias = undo_rest(grad)
        d_input, gradients = undo(d_z, wanted)
        return d_input, gradients if d_bias is None else {**gradients, "bias": d_bias}

    return out, back


def pool(layer: nn.Module, tensors: Tensors, a: Tensor) -> tuple[Tensor, Back]:
    """Any pooling layer; see `evoopt.training.stacked_layers`."""
    if isinstance(layer, nn.MaxPool2d) and pooling.suits(layer, a):
        out, undo = pooling.max_pool(layer, a)
        return out, lambda grad, wanted: (undo(grad) if wanted else None, {})
    # Without images, [P*C, H, W, b] is what a channels-last image of b channels looks like in memory.
    by_example, members = lies_as_images(a), len(a)

    def folded(x: Tensor) -> Tensor:
        return images(x) if by_example else x.flatten(0, 1).permute(0, 3, 1, 2)

    def unfolded(x: Tensor) -> Tensor:
        return stacked(x, members) if by_example else torch.unflatten(x.permute(0, 2, 3, 1), 0, (members, -1))

    out, undo_images = by_autograd(layer, {"": folded(a)})

    def back(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        d_images, _ = undo_images(folded(grad), wanted)
        return unfolded(cast(Tensor, d_images)), {}

    return unfolded(out), back


def by_autograd(function: Callable[..., Tensor], inputs: Mapping[str, Tensor]) -> tuple[Tensor, Back]:
    """A layer that autograd undoes; ``inputs`` are the activations, named "", and then the parameters."""
    leaves = {key: t.detach().requires_grad_() for key, t in inputs.items()}
    with torch.enable_grad():
        out = function(*leaves.values())

    def back(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        gradients = dict(zip(leaves, torch.autograd.grad(out, list(leaves.values()), grad), strict=True))
        return gradients.pop(""), gradients

    return out.detach(), back


def lies_as_images(a: Tensor) -> bool:
    """Whether activations ``[P, C, H, W, b]`` lie as ``[b, H, W, P * C]`` in memory."""
    return a.dim() == 5 and not a.is_contiguous() and a.permute(4, 2, 3, 0, 1).is_contiguous()


def images(a: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Activations ``[P, C, H, W, b]`` as images ``[b, P * C, H, W]``, channels last, by view if it can be."""
    x = a.permute(4, 2, 3, 0, 1)
    if not x.is_contiguous() or dtype not in (None, a.dtype):
        x = torch.empty(x.shape, dtype=dtype or a.dtype, device=a.device).copy_(x)
    return x.flatten(3).permute(0, 3, 1, 2)


def stacked(x: Tensor, members: int) -> Tensor:
    """Images ``[b, P * C, H, W]`` as activations, a view."""
    return torch.unflatten(x, 1, (members, -1)).permute(1, 2, 3, 4, 0)


def _by_kernel(
    layer: nn.Conv2d, tensors: Tensors, a: Tensor, pooled: nn.MaxPool2d | None, relu: bool
) -> tuple[Tensor, Back]:
    weight, bias, padding, window = tensors["weight"], tensors.get("bias"), _padding(layer), _window(pooled)
    out, winners = convolution.convolve(a, weight, bias, padding, window, relu)
    down, across = (a.shape[k + 2] + 2 * padding[k] - weight.shape[k + 3] + 1 for k in (0, 1))

    def back(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        gradients = {} if bias is None else {"bias": memory_for(tensors, "bias")}
        passed, d_bias = out if relu else None, gradients.get("bias")
        grad = convolution.output_gradient(grad, passed, winners, (down, across), window, d_bias)
        gradients["weight"] = convolution.kernel_gradient(a, grad, weight, padding)
        return convolution.input_gradient(grad, weight, padding) if wanted else None, gradients

    return out, back


def _on_cuda(a: Tensor) -> bool:
    return a.is_cuda


def _way_on_cuda(layer: nn.Conv2d, members: int, inputs: int) -> Callable[..., _Product]:
    """How to make the product of a layer for so many members, and as many inputs or one for all."""
    if layer.in_channels >= _MANY <= layer.out_channels:
        return _grouped
    return _shared_columns if inputs == 1 < members and layer.out_channels >= _MANY else _columns


def _columns(layer: nn.Conv2d, weight: Tensor, bias: Tensor | None, a: Tensor) -> _Product:
    """One matrix product per member, on copies of what every kernel element meets."""
    shape, (down, right) = a.shape, _padding(layer)
    members, out_channels, channels, kh, kw = weight.shape
    kernels = weight.reshape(members, out_channels, -1)
    windows = _windows(F.pad(a, (0, 0, right, right, down, down)), kh, kw, layer.stride)
    columns = windows.reshape(len(a), kernels.shape[2], -1).expand(members, -1, -1)
    size = windows.shape[4:]

    def undo(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        grad = grad.flatten(2)
        gradients = {"weight": torch.bmm(grad, columns.transpose(1, 2)).view(weight.shape)}
        if not wanted:
            return None, gradients
        parts = torch.bmm(kernels.transpose(1, 2), grad).view(members, channels, kh, kw, *size)
        height, width = shape[2:4]
        padded = grad.new_zeros(members, channels, height + 2 * down, width + 2 * right, shape[-1])
        met_by_kernel = _windows(padded, kh, kw, layer.stride)
        for i in range(kh):
            for j in range(kw):
                met_by_kernel[:, :, i, j] += parts[:, :, i, j]
        return padded[:, :, down : down + height, right : right + width], gradients

    return torch.bmm(kernels, columns).view(members, out_channels, *size), undo, False


def _shared_columns(layer: nn.Conv2d, weight: Tensor, bias: Tensor | None, a: Tensor) -> _Product:
    """One product for the filters of all members, of images that all see; its outputs lie as images."""
    (down, right), (members, filters, *kernel) = _padding(layer), weight.shape
    x = F.pad(a[0].permute(3, 1, 2, 0), (0, 0, right, right, down, down))  # [b, H, W, C]
    windows = x.unfold(1, kernel[1], layer.stride[0]).unfold(2, kernel[2], layer.stride[1])
    columns, kernels = windows.flatten(3).flatten(0, 2), weight.flatten(2)
    used = kernels.shape[2]
    if bias is not None:
        columns, kernels = F.pad(columns, (0, 1), value=1.0), torch.cat([kernels, bias.unsqueeze(2)], dim=2)
    spare = -columns.shape[1] % _ALIGNED
    columns, kernels = F.pad(columns, (0, spare)), F.pad(kernels, (0, spare))
    out = torch.mm(columns, kernels.flatten(0, 1).t())

    def undo(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        assert not wanted, "nothing before it is trained"
        rows = images(grad).permute(0, 2, 3, 1).flatten(0, 2)
        d_kernels = torch.unflatten(torch.mm(rows.t(), columns), 0, (members, filters))
        gradients = {"weight": d_kernels[..., :used].reshape(weight.shape)}
        return None, gradients if bias is None else {**gradients, "bias": d_kernels[..., used]}

    z = stacked(out.view(*windows.shape[:3], -1).permute(0, 3, 1, 2), members)
    return z, undo, bias is not None


def _grouped(layer: nn.Conv2d, weight: Tensor, bias: Tensor | None, a: Tensor) -> _Product:
    """A group of channels for each member."""
    members, stride, padding = len(weight), layer.stride, _padding(layer)
    x = images(a.expand(members, *a.shape[1:]), kind := _computed_in(a))
    kernels = weight.flatten(0, 1).to(kind).contiguous(memory_format=torch.channels_last)
    out = F.conv2d(x, kernels, None, stride, padding, groups=members)

    def undo(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        d_x, d_kernels, _ = torch.ops.aten.convolution_backward(
            images(grad), x, kernels, None, stride, padding, (1, 1), False, (0, 0), members,
            (wanted, True, False),
        )  # fmt: skip
        gradients = {"weight": torch.unflatten(d_kernels, 0, (members, -1))}
        return stacked(d_x, members) if wanted else None, gradients

    return stacked(out, members), undo, False


def _behind(
    z: Tensor, bias: Tensor | None, pooling_layer: nn.MaxPool2d | None, relu: bool
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor | None]]]:
    """What follows a product, and the function that maps its gradient to those of product and bias."""
    window, inside, members = _window(pooling_layer), lies_as_images(z), len(z)
    size, something = (z.shape[2], z.shape[3]), bias is not None or relu or pooling_layer is not None
    winners: Tensor | None = None
    undo_pooling: Back | None = None
    memory = _in_memory(z, inside)
    if something and memory.is_contiguous() and cuda_between.suits(memory, window):
        flat = None if bias is None else bias.flatten()
        rows, winners = cuda_between.forward(memory, flat, window, relu, inside)
        out = _from_memory(rows, members, inside)
    else:
        out = z if bias is None else z.add_(bias[..., None, None, None])
        if pooling_layer is not None:
            out, undo_pooling = pool(pooling_layer, {}, out)
        out = out.relu_() if relu else out

    def back(grad: Tensor) -> tuple[Tensor, Tensor | None]:
        if relu:
            grad = torch.ops.aten.threshold_backward(grad, out, 0)
        d_bias = None if bias is None else grad.sum(dim=(2, 3, 4))
        if winners is not None:
            g = _in_memory(grad, inside).contiguous()
            grad = _from_memory(cuda_between.backward(g, winners, size, window), members, inside)
        if undo_pooling is not None:
            grad = cast(Tensor, undo_pooling(grad, True)[0])
        return grad, d_bias

    return out, back


def _in_memory(a: Tensor, inside: bool) -> Tensor:
    """Activations as ``[b, H, W, P * C]``, or with the examples innermost ``[P * C, H, W, b]``."""
    return images(a).permute(0, 2, 3, 1) if inside else a.flatten(0, 1)


def _from_memory(rows: Tensor, members: int, inside: bool) -> Tensor:
    return stacked(rows.permute(0, 3, 1, 2), members) if inside else torch.unflatten(rows, 0, (members, -1))


def _not_trained(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
    raise AssertionError("a network in evaluation mode has no gradients")


def _computed_in(a: Tensor) -> torch.dtype:
    kind = a.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else a.dtype


def memory_for(tensors: Tensors, name: str) -> Tensor:
    """Memory for the gradient of a parameter."""
    return tensors[f"{name}.grad"] if f"{name}.grad" in tensors else torch.empty_like(tensors[name])


def _window(pool: nn.MaxPool2d | None) -> tuple[int, int]:
    return pooling.pair(pool.kernel_size) if pool else (1, 1)


def _padding(layer: nn.Conv2d) -> tuple[int, int]:
    assert isinstance(layer.padding, tuple), "see rule_for"
    return layer.padding[0], layer.padding[1]


def _windows(padded: Tensor, kh: int, kw: int, stride: tuple[int, ...]) -> Tensor:
    """What every kernel element meets, as a view ``[P, C, kh, kw, H_out, W_out, b]``."""
    return padded.unfold(2, kh, stride[0]).unfold(3, kw, stride[1]).permute(0, 1, 5, 6, 2, 3, 4)
