"""Forward and backward pass of a whole population of `nn.Sequential` models, layer by layer.

Activations lie in memory as ``[members, *features, examples]``. With the examples innermost a linear layer is
one batched matrix product without transposes, a convolution is shifted copies and the same product, and
pooling and ReLU run along contiguous memory. For the small models of a population this is faster than grouped
convolutions or `torch.vmap`, which remains the way for every other model. Layers are undone in reverse order
without autograd, whose bookkeeping costs a tenth of such a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from evoopt.training.layers import does_more, plain_sequential
from evoopt.training.stacked_convolutions import Back, Rule
from evoopt.training.stacked_layers import followed_by, rule_for


class Layer(NamedTuple):
    """A layer of the model, its rule, and the qualified names of its tensors by local name."""

    module: nn.Module
    rule: Rule
    names: dict[str, str]
    has_parameters: bool


def stackable(model: nn.Module) -> bool:
    """Whether every layer of a model is known here, does nothing else, and has tensors of its own."""
    if not plain_sequential(model) or does_more(model):
        return False
    unshared = all(
        len(list(named())) == len(list(named(remove_duplicate=False)))
        for named in (model.named_parameters, model.named_buffers)
    )
    return unshared and all(rule_for(layer) is not None for _, layer in _walk(model))


def stacked_layers(model: nn.Module) -> list[Layer]:
    """Prepare a `stackable` model."""
    layers: list[Layer] = []
    for name, module in _walk(model):
        if layers and (together := followed_by(layers[-1].rule, module)):
            layers[-1] = layers[-1]._replace(rule=together)
            continue
        parameters = list(dict(module.named_parameters()))
        keys = [*parameters, *(f"{key}.grad" for key in parameters), *dict(module.named_buffers())]
        rule = rule_for(module)
        assert rule is not None, "only for stackable models"
        layers.append(Layer(module, rule, {key: f"{name}.{key}" for key in keys}, bool(parameters)))
    return layers


@torch.no_grad()
def stacked_forward(
    layers: Sequence[Layer], tensors: Mapping[str, Tensor], x: Tensor, shared: bool = True
) -> Tensor:
    """Run a population of models that differ in their weights.

    Args:
        layers: Of one model; they give structure and mode (training or evaluation), not weights.
        tensors: Stacked parameters and buffers ``[P, ...]`` by qualified name, and numbers for dropout
            (``*.uniform``, with a member dimension or without). BatchNorm's running statistics change in
            place.
        x: Inputs ``[b, ...]``, the same for all; or each member's own ``[P, b, ...]``.
        shared: Which of the two.

    Returns:
        Outputs ``[P, b, ...]``, outside of autograd.
    """
    a = _examples_last(x, shared)
    for layer in layers:
        a, _ = layer.rule(layer.module, _own(layer, tensors), a)
    return a.movedim(-1, 1)


@torch.no_grad()
def stacked_gradients(
    layers: Sequence[Layer],
    tensors: Mapping[str, Tensor],
    x: Tensor,
    loss: Callable[[Tensor], tuple[Tensor, Tensor]],
    shared: bool = True,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Losses of all members and the gradients of their parameters.

    Args:
        layers: See `stacked_forward`.
        tensors: See `stacked_forward`; under ``*.grad`` also where gradients of parameters may be written.
        x: Inputs, see `stacked_forward`.
        loss: Maps outputs ``[P, b, ...]`` to losses ``[P]`` and their gradient with respect to the outputs.
        shared: Whether all members have the same inputs.

    Returns:
        Losses ``[P]``, and gradients ``[P, *shape]`` of the parameters by qualified name.
    """
    a = _examples_last(x, shared)
    done: list[tuple[Layer, Back, torch.dtype]] = []
    for layer in layers:
        a, back = layer.rule(layer.module, _own(layer, tensors), a)
        done.append((layer, back, a.dtype))
    losses, gradient = loss(a.movedim(-1, 1))
    flowing: Tensor | None = gradient.movedim(1, -1)
    gradients: dict[str, Tensor] = {}
    first = next((k for k, layer in enumerate(layers) if layer.has_parameters), len(layers))
    for k in range(len(done) - 1, first - 1, -1):
        layer, back, kind = done.pop()
        assert flowing is not None, "every layer but the first one passes its gradient on"
        # In mixed precision the layer behind may compute with other numbers.
        flowing, by_key = back(flowing.to(kind), k > first)
        gradients.update({layer.names[key]: gradient for key, gradient in by_key.items()})
    return losses, gradients


def _own(layer: Layer, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensors[name] for key, name in layer.names.items() if name in tensors}


def _examples_last(x: Tensor, shared: bool) -> Tensor:
    a = (x.movedim(0, -1).unsqueeze(0) if shared else x.movedim(1, -1)).contiguous()
    return a.clone() if a.data_ptr() == x.data_ptr() else a  # a layer may work in place


def _walk(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in model._modules.items():  # named_children() leaves repeated layers out
        assert child is not None, "nn.Sequential holds modules only"
        if plain_sequential(child):
            yield from _walk(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child
