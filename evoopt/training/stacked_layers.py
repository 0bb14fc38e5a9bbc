"""How each kind of layer runs on stacked activations, and how it is undone.

A rule takes a module (for its settings and mode), its stacked tensors by local name, and activations
``[P or 1, *features, b]``. It returns the output and a function that maps the output's gradient to the
input's (or None where that is not wanted) and to those of the layer's parameters. Where a parameter ``name``
has a tensor ``name.grad`` beside it, a rule may write the gradient there and return it. Rules run without
autograd; they may overwrite their input only if the layer was marked as in-place.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.training.dropout import GivenDropout
from evoopt.training.native import batch_norm, convolution, dropping, linear
from evoopt.training.stacked_convolutions import (
    Back,
    Rule,
    Tensors,
    by_autograd,
    convolve,
    images,
    lies_as_images,
    memory_for,
    pool,
    stacked,
)

ELEMENTWISE = (nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardtanh)
_POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


def rule_for(layer: nn.Module) -> Rule | None:
    """The rule of a layer, None if there is none for its kind or settings."""
    if type(layer) is nn.Conv2d:
        plain = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
        return convolve if plain and isinstance(layer.padding, tuple) else None
    if type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d):
        return _batch_norm if layer.momentum is not None else None
    if type(layer) is nn.ZeroPad2d:
        return _zero_padding if min(layer.padding) >= 0 else None
    if type(layer) is nn.Flatten:
        return _flatten if (layer.start_dim, layer.end_dim) == (1, -1) else None
    if type(layer) in _POOLING:
        return None if getattr(layer, "return_indices", False) else pool
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
    if type(layer) is nn.ReLU and first in (_linear, convolve, _batch_norm) and "relu" not in more:
        return partial(first, **more, relu=True)
    if type(layer) is nn.MaxPool2d and first is convolve and not more and convolution.pools(layer):
        return partial(convolve, pooled=layer)
    return None


def _linear(layer: nn.Linear, tensors: Tensors, a: Tensor, relu: bool = False) -> tuple[Tensor, Back]:
    if a.dim() > 3:
        return _linear_on_sequences(layer, tensors, a, relu)
    weight, bias = tensors["weight"], tensors.get("bias")
    if not linear.suits(a, weight):
        return _linear_by_torch(weight, bias, a, relu)
    out = linear.forward(a, weight, bias, relu)

    def back(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        gradients = {name: memory_for(tensors, name) for name in ("weight", "bias") if name in tensors}
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


def _relu(layer: nn.ReLU, tensors: Tensors, a: Tensor) -> tuple[Tensor, Back]:
    out = a.relu_() if layer.inplace else a.relu()
    return out, lambda grad, wanted: (torch.ops.aten.threshold_backward(grad, out, 0), {})


def _identity(layer: nn.Identity, tensors: Tensors, a: Tensor) -> tuple[Tensor, Back]:
    return a, lambda grad, wanted: (grad, {})


def _flatten(layer: nn.Flatten, tensors: Tensors, a: Tensor) -> tuple[Tensor, Back]:
    shape, by_example = a.shape, lies_as_images(a)

    def back(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        grad = grad.reshape(-1, *shape[1:])
        # Once in the order of what comes before, instead of at every layer.
        return stacked(images(grad), len(grad)) if by_example else grad, {}

    return a.reshape(len(a), -1, a.shape[-1]), back


def _zero_padding(layer: nn.ZeroPad2d, tensors: Tensors, a: Tensor) -> tuple[Tensor, Back]:
    left, right, top, bottom = layer.padding
    height, width = a.shape[2:4]

    def back(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        return grad[:, :, top : top + height, left : left + width], {}

    return F.pad(a, (0, 0, left, right, top, bottom)), back


def _dropout(layer: GivenDropout, tensors: Tensors, a: Tensor) -> tuple[Tensor, Back]:
    if not layer.training:
        return _identity(nn.Identity(), tensors, a)
    uniform = tensors["uniform"]
    by_member = uniform.dim() == a.dim()
    uniform = uniform.movedim(1, -1) if by_member else uniform.movedim(0, -1).unsqueeze(0)
    if dropping.suits(a):
        rates = tensors["p"]
        a, uniform = a.expand(len(rates), *a.shape[1:]), uniform.contiguous()
        return dropping.apply(a, uniform, rates), lambda g, wanted: (dropping.apply(g, uniform, rates), {})
    if lies_as_images(a):  # numbers in another order than the activations' would be read one by one
        uniform = stacked(images(uniform), len(uniform))
    mask = layer.mask(uniform, tensors["p"].reshape(-1, *([1] * (a.dim() - 1))), a.dtype)
    return a * mask, lambda grad, wanted: (grad * mask, {})


def _elementwise(layer: nn.Module, tensors: Tensors, a: Tensor) -> tuple[Tensor, Back]:
    in_place = getattr(layer, "inplace", False)  # which autograd does not let happen to a leaf
    return by_autograd((lambda leaf: layer(leaf.clone())) if in_place else layer, {"": a})


def _batch_norm(
    layer: nn.BatchNorm2d, tensors: Tensors, a: Tensor, relu: bool = False
) -> tuple[Tensor, Back]:
    members = max(len(t) for t in (a, *tensors.values()))
    mean, var = tensors.get("running_mean"), tensors.get("running_var")
    if layer.training and "num_batches_tracked" in tensors:
        tensors["num_batches_tracked"].add_(1)
    if batch_norm.suits(a):
        return _batch_norm_by_kernel(layer, tensors, a, members, relu)
    by_example = lies_as_images(a)

    def norm(a: Tensor, *affine: Tensor) -> Tensor:
        # Every member's channel is a channel of one big image batch of size 1.
        weight, bias = (t.reshape(-1) for t in affine) if affine else (None, None)
        out = F.batch_norm(
            images(a) if by_example else a.reshape(1, members * a.shape[1], -1),
            None if mean is None else mean.view(-1),
            None if var is None else var.view(-1),
            weight,
            bias,
            layer.training or mean is None,
            layer.momentum or 0.0,
            layer.eps,
        )
        out = stacked(out, members) if by_example else out.view(a.shape)
        return out.relu() if relu else out

    a = a.expand(members, *a.shape[1:])
    return by_autograd(norm, {"": a, **{key: tensors[key] for key in ("weight", "bias") if key in tensors}})


def _batch_norm_by_kernel(
    layer: nn.BatchNorm2d, tensors: Tensors, a: Tensor, members: int, relu: bool
) -> tuple[Tensor, Back]:
    weight, bias = tensors.get("weight"), tensors.get("bias")
    kept = "running_mean" in tensors
    running = (tensors["running_mean"], tensors["running_var"]) if kept else None
    of_batch = layer.training or not kept
    out, by = batch_norm.forward(
        a, members, weight, bias, running, of_batch, layer.momentum or 0.0, layer.eps, relu
    )

    def back(grad: Tensor, wanted: bool) -> tuple[Tensor | None, dict[str, Tensor]]:
        gradients = {name: memory_for(tensors, name) for name in ("weight", "bias") if name in tensors}
        passed, d_weight, d_bias = out if relu else None, gradients.get("weight"), gradients.get("bias")
        return batch_norm.backward(a, weight, grad, by, passed, d_weight, d_bias, of_batch), gradients

    return out, back
