"""A layer-by-layer forward pass for a whole population of `nn.Sequential` models.

Activations lie in memory as ``[members, *features, examples]``. With the examples innermost a linear layer is
one batched matrix product without transposes, a convolution is shifted copies and the same product, and
pooling and ReLU run along contiguous memory. For the small models of a population this is faster than grouped
convolutions or `torch.vmap`, which remains the way for every other model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.training.dropout import GivenDropout
from evoopt.training.layers import plain_sequential

Tensors = Mapping[str, Tensor]
"""Stacked parameters and buffers of one module by local name."""

ELEMENTWISE = (
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardtanh,
    nn.Identity,
)  # fmt: skip
POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


def stackable(model: nn.Module) -> bool:
    """Whether `stacked_forward` knows every layer of a model."""
    return plain_sequential(model) and all(_known(layer) for _, layer in _layers(model))


class Layer(NamedTuple):
    """A layer of the model, its rule, and the qualified names of its tensors by local name."""

    module: nn.Module
    rule: Callable[[Any, Tensors, Tensor], Tensor]
    names: dict[str, str]


def stacked_layers(model: nn.Module) -> list[Layer]:
    """Prepare a `stackable` model for `stacked_forward`."""
    layers = []
    for name, module in _layers(model):
        own = [*dict(module.named_parameters()), *dict(module.named_buffers())]
        layers.append(Layer(module, _rule(module), {key: f"{name}.{key}" for key in own}))
    return layers


def stacked_forward(layers: Sequence[Layer], tensors: Tensors, x: Tensor) -> Tensor:
    """Run a population of models that differ in their weights on the same inputs.

    Args:
        layers: Of one model; they give structure and mode (training or evaluation), not weights.
        tensors: Stacked parameters and buffers ``[P, ...]`` by qualified name, and numbers for dropout
            (``*.uniform``, without the member dimension). BatchNorm's running statistics change in place.
        x: Inputs ``[b, ...]``.

    Returns:
        Outputs ``[P, b, ...]``.
    """
    a = x.movedim(0, -1).unsqueeze(0).contiguous()
    for module, rule, names in layers:
        a = rule(module, {key: tensors[name] for key, name in names.items() if name in tensors}, a)
    return a.movedim(-1, 1)


def _layers(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in model.named_children():
        if plain_sequential(child):
            yield from _layers(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def _known(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros" \
            and isinstance(layer.padding, tuple)  # fmt: skip
    if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
        return layer.momentum is not None
    if isinstance(layer, nn.Flatten):
        return layer.start_dim == 1 and layer.end_dim == -1
    if isinstance(layer, nn.MaxPool2d):
        return not layer.return_indices
    return type(layer) in (nn.Linear, GivenDropout, *ELEMENTWISE, *POOLING)


def _rule(layer: nn.Module) -> Callable[[Any, Tensors, Tensor], Tensor]:
    if isinstance(layer, POOLING):
        return _pooling
    if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
        return _batch_norm
    return _RULES.get(type(layer), _elementwise)


def _elementwise(layer: nn.Module, own: Tensors, a: Tensor) -> Tensor:
    return layer(a)  # type: ignore[no-any-return]


def _flatten(layer: nn.Flatten, own: Tensors, a: Tensor) -> Tensor:
    return a.reshape(len(a), -1, a.shape[-1])


def _linear(layer: nn.Linear, own: Tensors, a: Tensor) -> Tensor:
    if a.dim() != 3:
        raise NotImplementedError("linear layers on inputs with more than one feature dimension")
    weight = own["weight"]
    a = a.expand(len(weight), -1, -1)
    if "bias" not in own:
        return torch.bmm(weight, a)
    return torch.baddbmm(own["bias"].unsqueeze(-1), weight, a)


def _conv2d(layer: nn.Conv2d, own: Tensors, a: Tensor) -> Tensor:
    return _Convolution.apply(a, own["weight"], own.get("bias"), layer.stride, layer.padding)  # type: ignore


def _pooling(layer: nn.Module, own: Tensors, a: Tensor) -> Tensor:
    # [P*C, H, W, b] is what a channels-last image of b channels looks like in memory.
    members, channels, height, width, examples = a.shape
    images = a.reshape(members * channels, height, width, examples).permute(0, 3, 1, 2)
    pooled = layer(images).permute(0, 2, 3, 1)
    return pooled.reshape(members, channels, *pooled.shape[1:])  # type: ignore[no-any-return]


def _batch_norm(layer: nn.BatchNorm2d, own: Tensors, a: Tensor) -> Tensor:
    # Every member's channel is a channel of one big image batch of size 1.
    weight, mean, var = own.get("weight"), own.get("running_mean"), own.get("running_var")
    members = max(len(t) for t in (a, *own.values()))
    a = a.expand(members, *a.shape[1:])
    channels = a.shape[1]
    if layer.training and "num_batches_tracked" in own:
        own["num_batches_tracked"].add_(1)
    out = F.batch_norm(
        a.reshape(1, members * channels, -1),
        None if mean is None else mean.view(-1),
        None if var is None else var.view(-1),
        None if weight is None else weight.reshape(-1),
        None if weight is None else own["bias"].reshape(-1),
        layer.training or mean is None,
        layer.momentum or 0.0,
        layer.eps,
    )
    return out.view(a.shape)


def _dropout(layer: GivenDropout, own: Tensors, a: Tensor) -> Tensor:
    if not layer.training:
        return a
    p = own["p"].reshape(-1, *([1] * (a.dim() - 1)))
    return a * layer.mask(own["uniform"].movedim(0, -1).unsqueeze(0), p, a.dtype)


_RULES: dict[type[nn.Module], Callable[[Any, Tensors, Tensor], Tensor]] = {
    nn.Flatten: _flatten,
    nn.Linear: _linear,
    nn.Conv2d: _conv2d,
    GivenDropout: _dropout,
}


class _Convolution(torch.autograd.Function):
    """Convolution of ``[P or 1, C, H, W, b]`` with kernels ``[P, O, C, kh, kw]`` as one batched product."""

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any
    ) -> Tensor:
        members, out_channels = weight.shape[:2]
        windows = _windows(F.pad(a, (0, 0, padding[1], padding[1], padding[0], padding[0])), weight, stride)
        columns = windows.reshape(len(a), weight[0, 0].numel(), -1)
        ctx.save_for_backward(columns, weight)
        ctx.input_shape, ctx.stride, ctx.padding = a.shape, stride, padding
        out = a.new_empty(members, out_channels, *windows.shape[4:])
        product = out.view(members, out_channels, -1)
        torch.bmm(weight.reshape(members, out_channels, -1), columns.expand(members, -1, -1), out=product)
        if bias is not None:
            product += bias.unsqueeze(-1)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None, None]:
        columns, weight = ctx.saved_tensors
        members, out_channels, _, kh, kw = weight.shape
        grad = grads[0].reshape(members, out_channels, -1)
        grad_weight = torch.bmm(grad, columns.expand(members, -1, -1).transpose(1, 2)).view(weight.shape)
        grad_bias = grad.sum(dim=-1) if ctx.needs_input_grad[2] else None
        if not ctx.needs_input_grad[0]:
            return None, grad_weight, grad_bias, None, None
        _, channels, height, width, examples = ctx.input_shape
        (down, right), shape = ctx.padding, ctx.input_shape
        padded = grad.new_zeros(members, channels, height + 2 * down, width + 2 * right, examples)
        windows = _windows(padded, weight, ctx.stride)
        parts = torch.bmm(weight.reshape(members, out_channels, -1).transpose(1, 2), grad).view(windows.shape)
        for i in range(kh):
            for j in range(kw):
                windows[:, :, i, j] += parts[:, :, i, j]
        inside = padded[:, :, down : down + height, right : right + width]
        return inside.sum_to_size(shape), grad_weight, grad_bias, None, None


def _windows(padded: Tensor, weight: Tensor, stride: tuple[int, int]) -> Tensor:
    """What every kernel element meets, as a view ``[P, C, kh, kw, H_out, W_out, b]``."""
    kh, kw = weight.shape[3:]
    return padded.unfold(2, kh, stride[0]).unfold(3, kw, stride[1]).permute(0, 1, 5, 6, 2, 3, 4)
