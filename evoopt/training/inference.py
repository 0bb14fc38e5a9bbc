"""Outputs of many networks on the same inputs on a CPU, network by network; fast for small convolutions.

Small convolutional networks are bound by memory traffic, not by arithmetic. So inputs come in batches whose
activations stay in the cache, layers work channels-last, pooling comes before ReLU, and the first convolution
with its pooling becomes four matrix products on columns that are laid out once for all networks.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.training.flat import FlatLayout
from evoopt.training.layers import plain_sequential, prepare_layers
from evoopt.training.native.pooling import pair

# Activations of a batch in its largest layer; measured, with a flat optimum.
_CACHE_BYTES = 8 * 2**20
_LARGEST_BATCH = 1024
_MOST_COLUMNS = 32  # wider kernels gain nothing from columns


class Inference:
    """Runs rows of weights over a fixed set of inputs, in evaluation mode.

    The outputs of a row do not depend on the other rows it is run with, to the last bit. They are those of
    the plain model up to rounding, so in float32 an accuracy may differ by an example that is nearly a tie.

    Args:
        model: The architecture, with the buffers and frozen parameters that all rows share.
        layout: Where the trained parameters lie in a row.
        x: Inputs ``[n, ...]`` on the CPU; of floating point, they decide the arithmetic's precision.
    """

    def __init__(self, model: nn.Module, layout: FlatLayout, x: Tensor) -> None:
        model = copy.deepcopy(model).cpu().requires_grad_(False).eval()
        if x.is_floating_point():
            model = model.to(x.dtype)
        self._layout = layout
        self._parameters = dict(model.named_parameters())
        self._dtype = next(iter(self._parameters.values())).dtype
        self._model, self._columns = _prepared(model, x)
        size = batch_size(model, x)
        self._batches = [_channels_last(batch) for batch in torch.split(x.clone(), size)]
        example = x[:1].clone() if self._columns is None else self._columns(x[:1])
        with torch.no_grad():
            version = example._version
            self._model(example)
            self._in_place = example._version != version

    @torch.no_grad()
    def __call__(self, rows: Tensor) -> Tensor:
        """Outputs ``[P, n, ...]`` of rows of weights ``[P, D]``.

        Raises:
            EvooptError: The model changes its inputs in place.
        """
        members = [
            {name: _channels_last(view[0]) for name, view in self._layout.views(row.unsqueeze(0)).items()}
            for row in rows.to("cpu", self._dtype)
        ]
        results: list[list[Tensor]] = [[] for _ in members]
        for batch in self._batches:
            inputs = batch if self._columns is None else self._columns(batch)
            version = inputs._version
            for weights, outputs in zip(members, results, strict=True):
                for name, weight in weights.items():
                    self._parameters[name].data = weight
                outputs.append(self._model(inputs.clone() if self._in_place else inputs))
            if inputs._version != version:
                raise EvooptError("the model sometimes changes its inputs in place; have it work on a copy")
        return torch.stack([torch.cat(outputs) for outputs in results])


def batch_size(model: nn.Module, x: Tensor) -> int:
    """Inputs per forward pass, so that the largest activation fits the cache; by model and shapes alone."""
    largest = 1

    def measure(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel() * output.element_size())

    handles = [module.register_forward_hook(measure) for module in model.modules()]
    try:
        with torch.no_grad():
            model(x[:1].clone())
    finally:
        for handle in handles:
            handle.remove()
    return min(_LARGEST_BATCH, max(1, _CACHE_BYTES // largest))


class PooledColumns:
    """Lays inputs out for `PooledConvolution`: what a kernel meets at each place of a 2x2 pooling window."""

    def __init__(self, convolution: nn.Conv2d, padding: list[int]) -> None:
        self._padding = padding
        self._kernel, self._stride = convolution.kernel_size, convolution.stride

    def __call__(self, x: Tensor) -> Tensor:
        """Columns ``[4, C * kh * kw, n, h, w]``, where ``h`` and ``w`` are the sizes after pooling."""
        windows = F.pad(x, self._padding)
        for axis in (2, 3):
            windows = windows.unfold(axis, self._kernel[axis - 2], self._stride[axis - 2])
        height, width = (size // 2 * 2 for size in windows.shape[2:4])
        corners = [windows[:, :, i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]
        return torch.stack([corner.permute(1, 4, 5, 0, 2, 3) for corner in corners]).flatten(1, 3)


class PooledConvolution(nn.Module):
    """A convolution and 2x2 max pooling on `PooledColumns`."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, columns: Tensor) -> Tensor:
        """Map columns ``[4, C * kh * kw, n, h, w]`` to ``[n, C_out, h, w]``, channels last."""
        kernel = self.convolution.weight.flatten(1).t()
        first, *others = columns.flatten(2).transpose(1, 2)
        out = first @ kernel
        product = torch.empty_like(out)
        for corner in others:
            torch.maximum(out, torch.mm(corner, kernel, out=product), out=out)
        if self.convolution.bias is not None:
            out += self.convolution.bias
        images: Tensor = out.view(*columns.shape[2:], -1)
        return images.permute(0, 3, 1, 2)


class HalvingMaxPool(nn.Module):
    """`nn.MaxPool2d(2)` for channels-last inputs: torch's own also finds the indices, which takes longer."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, C, H, W]`` to ``[n, C, H // 2, W // 2]``."""
        height, width = (size // 2 * 2 for size in x.shape[2:])
        rows = torch.maximum(x[:, :, 0:height:2], x[:, :, 1:height:2])
        return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


def _prepared(model: nn.Module, x: Tensor) -> tuple[nn.Module, PooledColumns | None]:
    """Rewrite a model for speed; the second is to be applied to its inputs, where it is given."""
    layers = _leaves(prepare_layers(model))
    if layers is None or x.dim() != 4:
        return model, None
    layers = [HalvingMaxPool() if _halves(layer) else layer for layer in layers]
    padding, rest = [0] * 4, layers
    if isinstance(layers[0], nn.ZeroPad2d):
        padding, rest = list(layers[0].padding), layers[1:]
    if len(rest) < 2 or not _narrow(rest[0]) or not isinstance(rest[1], HalvingMaxPool):
        return nn.Sequential(*layers), None
    convolution = rest[0]
    assert isinstance(convolution, nn.Conv2d)
    total = [a + b for a, b in zip(padding, convolution._reversed_padding_repeated_twice, strict=True)]
    return nn.Sequential(PooledConvolution(convolution), *rest[2:]), PooledColumns(convolution, total)


def _leaves(model: nn.Module) -> list[nn.Module] | None:
    """The layers of nested `nn.Sequential`s in order; None for any other model."""
    if not plain_sequential(model):
        return None
    children = [child for child in model._modules.values() if child is not None]  # repeated ones too
    return [leaf for child in children for leaf in (_leaves(child) or [child])]


def _halves(layer: nn.Module) -> bool:
    if type(layer) is not nn.MaxPool2d or layer.return_indices or layer.ceil_mode:
        return False
    settings = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return [pair(value) for value in settings] == [(2, 2), (2, 2), (0, 0), (1, 1)]


def _narrow(layer: nn.Module) -> bool:
    if type(layer) is not nn.Conv2d or layer.groups > 1 or layer.dilation != (1, 1):
        return False
    return layer.padding_mode == "zeros" and layer.weight[0].numel() <= _MOST_COLUMNS


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
