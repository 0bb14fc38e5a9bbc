"""How each kind of layer runs on stacked activations, and how it is undone.

A rule takes a module (for its settings and mode), its stacked tensors by local name, and activations
``[P or 1, *features, b]``. It returns the output and a function that maps the output's gradient to the
input's (or None where that is not wanted) and to those of the layer's parameters. Where a parameter ``name``
has a tensor ``name.grad`` beside it, a rule may write the gradient there and return it. Rules run without
autograd; they may overwrite their input only if the layer was marked as in-place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.training.dropout import GivenDropout
from evoopt.training.native import convolution, linear, pooling

Tensors = Mapping[str, Tensor]
Back = Callable[[Tensor, bool], tuple[Tensor | None, dict[str, Tensor]]]
Rule = Callable[[Any, Tensors, Tensor], tuple[Tensor, Back]]

ELEMENTWISE = (nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardtanh)
_POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


def rule_for(layer: nn.Module) -> Rule | None:
    """The rule of a layer, None if there is none for its kind or settings."""
    if type(layer) is nn.Conv2d:
        plain = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
        return _convolution if plain and isinstance(layer.padding, tuple) else None
    if type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d):
        return _batch_norm if layer.momentum is not None else None
    if type(layer) is nn.ZeroPad2d:
        return _zero_padding if min(layer.padding) >= 0 else None
    if type(layer) is nn.Flatten:
        return _flatten if (layer.start_dim, layer.end_dim) == (1, -1) else None
    if type(layer) in _POOLING:
        return None if getattr(layer, "return_indices", False) else _pooling
    if type(layer) in ELEMENTWISE:
        return _elementwise
    others: dict[type[nn.Module], Rule] = {
        nn.Linear: _linear, nn.ReLU: _relu, nn.Identity: _identity, GivenDropout: _dropout
    }  # fmt: skip
    return others.get(type(layer))


def followed_by(rule: Rule, layer: nn.Module) -> Rule | None:
    """The rule that runs a layer of the given rule and the next layer in one, if there is one."""
    first: Any
    first, more = (rule.func, rule.keywords) if isinstance(rule, partial) else (rule, {})
    if type(layer) is nn.ReLU and first in (_linear, _convolution) and "relu" not in more:
        return partial(first, **more, relu=True)
    if type(layer) is nn.MaxPool2d and first is _convolution and not more and convolution.pools(layer):
        return partial(_convolution, pool=layer)
    return None


def _linear(layer: nn.Linear, tensors: Tensors, a: Tensor, relu: bool = False) -> tuple[Tensor, Back]:
    if a.dim() > 3:
        return _linear_on_sequences(layer, tensors, a, relu)
    weight, bias = tensors["weight"], tensors.get("bias")
    if not linear.suits(a, weight):
        return _linear_by_torch(weight, bias, a, relu)
    out = linear.forward(a, weight, bias, relu)

    def back(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        gradients = {name: _memory_for(tensors, name) for name in ("weight", "bias") if name in tensors}
        passed = out if relu else None
        return linear.backward(
            a, weight, grad, passed, gradients["weight"], gradients.get("bias"), wanted
        ), gradients

    return out, back


def _linear_on_sequences(layer: nn.Linear, tensors: Tensors, a: Tensor, relu: bool) -> tuple[Tensor, Back]:
    """Every place of ``[P, *places, features, b]`` is an example of its own."""
    places = a.shape[1:-2]

    def as_examples(t: Tensor) -> Tensor:
        return t.movedim(-2, 1).flatten(2)

    def as_sequences(t: Tensor) -> Tensor:
        return t.view(*t.shape[:2], *places, a.shape[-1]).movedim(1, -2)

    out, undo = _linear(layer, tensors, as_examples(a), relu)

    def back(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        flowing, gradients = undo(as_examples(grad), wanted)
        return None if flowing is None else as_sequences(flowing), gradients

    return as_sequences(out), back


def _linear_by_torch(weight: Tensor, bias: Tensor | None, a: Tensor, relu: bool) -> tuple[Tensor, Back]:
    a = a.expand(len(weight), -1, -1)
    out = torch.bmm(weight, a) if bias is None else torch.baddbmm(bias.unsqueeze(-1), weight, a)
    if relu:
        out.relu_()

    def back(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        if relu:
            grad = torch.ops.aten.threshold_backward(grad, out, 0)
        gradients = {"weight": torch.bmm(grad, a.transpose(1, 2))}
        if bias is not None:
            gradients["bias"] = grad.sum(dim=-1)
        return torch.bmm(weight.transpose(1, 2), grad) if wanted else None, gradients

    return out, back


def _memory_for(tensors: Tensors, name: str) -> Tensor:
    """Memory for the gradient of a parameter."""
    return tensors[f"{name}.grad"] if f"{name}.grad" in tensors else torch.empty_like(tensors[name])


def _relu(layer: nn.ReLU, tensors: Tensors, a: Tensor) -> tuple[Tensor, Back]:
    out = a.relu_() if layer.inplace else a.relu()
    return out, lambda grad, wanted: (torch.ops.aten.threshold_backward(grad, out, 0), {})


def _identity(layer: nn.Identity, tensors: Tensors, a: Tensor) -> tuple[Tensor, Back]:
    return a, lambda grad, wanted: (grad, {})


def _flatten(layer: nn.Flatten, tensors: Tensors, a: Tensor) -> tuple[Tensor, Back]:
    shape = a.shape
    return a.reshape(len(a), -1, a.shape[-1]), lambda grad, wanted: (grad.reshape(-1, *shape[1:]), {})


def _zero_padding(layer: nn.ZeroPad2d, tensors: Tensors, a: Tensor) -> tuple[Tensor, Back]:
    left, right, top, bottom = layer.padding
    height, width = a.shape[2:4]

    def back(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        return grad[:, :, top : top + height, left : left + width], {}

    return F.pad(a, (0, 0, left, right, top, bottom)), back


def _dropout(layer: GivenDropout, tensors: Tensors, a: Tensor) -> tuple[Tensor, Back]:
    if not layer.training:
        return _identity(nn.Identity(), tensors, a)
    p = tensors["p"].reshape(-1, *([1] * (a.dim() - 1)))
    uniform = tensors["uniform"]
    by_member = uniform.dim() == a.dim()
    uniform = uniform.movedim(1, -1) if by_member else uniform.movedim(0, -1).unsqueeze(0)
    mask = layer.mask(uniform, p, a.dtype)
    return a * mask, lambda grad, wanted: (grad * mask, {})


def _elementwise(layer: nn.Module, tensors: Tensors, a: Tensor) -> tuple[Tensor, Back]:
    in_place = getattr(layer, "inplace", False)  # which autograd does not let happen to a leaf
    return _by_autograd((lambda leaf: layer(leaf.clone())) if in_place else layer, {"": a})


def _pooling(layer: nn.Module, tensors: Tensors, a: Tensor) -> tuple[Tensor, Back]:
    if isinstance(layer, nn.MaxPool2d) and pooling.suits(layer, a):
        out, undo_pooling = pooling.max_pool(layer, a)
        return out, lambda grad, wanted: (undo_pooling(grad) if wanted else None, {})
    # [P*C, H, W, b] is what a channels-last image of b channels looks like in memory.
    shape = a.shape
    pooled, undo = _by_autograd(layer, {"": a.flatten(0, 1).permute(0, 3, 1, 2)})
    out = pooled.permute(0, 2, 3, 1)

    def back(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        images, _ = undo(grad.reshape(out.shape).permute(0, 3, 1, 2), wanted)
        assert images is not None
        return images.permute(0, 2, 3, 1).reshape(-1, *shape[1:]), {}

    return out.reshape(*shape[:2], *out.shape[1:]), back


def _batch_norm(layer: nn.BatchNorm2d, tensors: Tensors, a: Tensor) -> tuple[Tensor, Back]:
    # Every member's channel is a channel of one big image batch of size 1.
    members = max(len(t) for t in (a, *tensors.values()))
    mean, var = tensors.get("running_mean"), tensors.get("running_var")
    if layer.training and "num_batches_tracked" in tensors:
        tensors["num_batches_tracked"].add_(1)

    def norm(a: Tensor, *affine: Tensor) -> Tensor:
        weight, bias = (t.reshape(-1) for t in affine) if affine else (None, None)
        out = F.batch_norm(
            a.reshape(1, members * a.shape[1], -1),
            None if mean is None else mean.view(-1),
            None if var is None else var.view(-1),
            weight,
            bias,
            layer.training or mean is None,
            layer.momentum or 0.0,
            layer.eps,
        )
        return out.view(a.shape)

    a = a.expand(members, *a.shape[1:])
    return _by_autograd(norm, {"": a, **{key: tensors[key] for key in ("weight", "bias") if key in tensors}})


def _by_autograd(function: Callable[..., Tensor], inputs: Mapping[str, Tensor]) -> tuple[Tensor, Back]:
    """A layer that autograd undoes; ``inputs`` are the activations, named "", and then the parameters."""
    leaves = {key: t.detach().requires_grad_() for key, t in inputs.items()}
    with torch.enable_grad():
        out = function(*leaves.values())

    def back(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        gradients = dict(zip(leaves, torch.autograd.grad(out, list(leaves.values()), grad), strict=True))
        return gradients.pop(""), gradients

    return out.detach(), back


def _convolution(
    layer: nn.Conv2d, tensors: Tensors, a: Tensor, pool: nn.MaxPool2d | None = None, relu: bool = False
) -> tuple[Tensor, Back]:
    if not convolution.suits(layer, a):
        done = _convolution_by_columns(layer, tensors, a)
        done = _then(done[1], _pooling(pool, {}, done[0])) if pool else done
        return _then(done[1], _relu(nn.ReLU(inplace=True), {}, done[0])) if relu else done
    weight, padding = tensors["weight"], _symmetric_padding(layer)
    window = pooling.pair(pool.kernel_size) if pool else (1, 1)
    out, winners = convolution.convolve(a, weight, tensors.get("bias"), padding, window, relu)
    down, across = (a.shape[k + 2] + 2 * padding[k] - weight.shape[k + 3] + 1 for k in (0, 1))

    def back(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        gradients = {"bias": _memory_for(tensors, "bias")} if "bias" in tensors else {}
        passed = out if relu else None
        grad = convolution.output_gradient(
            grad, passed, winners, (down, across), window, gradients.get("bias")
        )
        gradients["weight"] = convolution.kernel_gradient(a, grad, weight, padding)
        return convolution.input_gradient(grad, weight, padding) if wanted else None, gradients

    return out, back


def _convolution_by_columns(layer: nn.Conv2d, tensors: Tensors, a: Tensor) -> tuple[Tensor, Back]:
    """The same as one matrix product per member, on copies of what every kernel element meets."""
    weight, stride, shape = tensors["weight"], layer.stride, a.shape
    down, right = _symmetric_padding(layer)
    members, out_channels, channels, kh, kw = weight.shape
    kernels = weight.reshape(members, out_channels, -1)
    windows = _windows(F.pad(a, (0, 0, right, right, down, down)), kh, kw, stride)
    columns = windows.reshape(len(a), kernels.shape[2], -1).expand(members, -1, -1)
    if "bias" in tensors:
        out = torch.baddbmm(tensors["bias"].unsqueeze(-1), kernels, columns)
    else:
        out = torch.bmm(kernels, columns)

    def back(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        grad = grad.reshape(out.shape)
        gradients = {"weight": torch.bmm(grad, columns.transpose(1, 2)).view(weight.shape)}
        if "bias" in tensors:
            gradients["bias"] = grad.sum(dim=-1)
        if not wanted:
            return None, gradients
        parts = torch.bmm(kernels.transpose(1, 2), grad).view(members, channels, kh, kw, *windows.shape[4:])
        height, width = shape[2:4]
        padded = grad.new_zeros(members, channels, height + 2 * down, width + 2 * right, shape[-1])
        met_by_kernel = _windows(padded, kh, kw, stride)
        for i in range(kh):
            for j in range(kw):
                met_by_kernel[:, :, i, j] += parts[:, :, i, j]
        return padded[:, :, down : down + height, right : right + width], gradients

    return out.view(members, out_channels, *windows.shape[4:]), back


def _then(undo: Back, second: tuple[Tensor, Back]) -> tuple[Tensor, Back]:
    """A layer that ``undo`` undoes, and the second one behind it, which has no parameters."""
    out, undo_second = second

    def back(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        flowing, _ = undo_second(grad, True)
        assert flowing is not None, "it is wanted"
        return undo(flowing, wanted)

    return out, back


def _symmetric_padding(layer: nn.Conv2d) -> tuple[int, int]:
    assert isinstance(layer.padding, tuple), "see rule_for"
    return layer.padding[0], layer.padding[1]


def _windows(padded: Tensor, kh: int, kw: int, stride: tuple[int, ...]) -> Tensor:
    """What every kernel element meets, as a view ``[P, C, kh, kw, H_out, W_out, b]``."""
    return padded.unfold(2, kh, stride[0]).unfold(3, kw, stride[1]).permute(0, 1, 5, 6, 2, 3, 4)
