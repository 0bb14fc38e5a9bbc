"""Outputs of many networks on the same inputs on a CPU, network by network.

Small convolutional networks are bound by memory traffic, not by arithmetic. So inputs come in batches whose
activations stay in the cache, and each network goes through a batch by the kernels that train populations.
Networks that these do not know run as the modules they are, channels last.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.training.dropout import with_given_dropout
from evoopt.training.flat import FlatLayout
from evoopt.training.layers import prepare_layers
from evoopt.training.native import convolution, linear
from evoopt.training.stacked import stackable, stacked_forward, stacked_layers
from evoopt.training.stacked_layers import ELEMENTWISE
from evoopt.training.streams import own_draws, seed_draws

# Activations of a batch in its largest layer; measured, with a flat optimum.
_CACHE_BYTES = 8 * 2**20
_LARGEST_BATCH = 1024
_WHOLE_VECTORS = 32  # examples that kernels take at once


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
        self._layout, self._dtype = layout, next(model.parameters()).dtype
        with own_draws(x.device):
            batches = torch.split(x.clone(), batch_size(model, x))
        self._network = _ByKernels(model, layout) if _known(model, x) else _ByModules(model, x)
        self._batches = [self._network.laid_out(batch) for batch in batches]

    @torch.no_grad()
    def __call__(self, rows: Tensor) -> Tensor:
        """Outputs ``[P, n, ...]`` of rows of weights ``[P, D]``.

        Raises:
            EvooptError: The model changes its inputs in place.
        """
        parts = torch.split(rows.to("cpu", self._dtype), self._network.at_once())
        networks = [self._layout.views(part) for part in parts]
        results: list[list[Tensor]] = [[] for _ in networks]
        for batch in self._batches:
            for weights, outputs in zip(networks, results, strict=True):
                outputs.append(self._network(weights, batch))
        return torch.cat([torch.cat(outputs, dim=1) for outputs in results])


class _ByKernels:
    """Networks as a population, layer by layer."""

    def __init__(self, model: nn.Module, layout: FlatLayout) -> None:
        self._layers = stacked_layers(prepare_layers(with_given_dropout(model)).eval())
        # Torch rounds these functions by where in memory a number lies.
        self._alone = any(isinstance(layer.module, ELEMENTWISE) for layer in self._layers)
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        self._shared = {name: t for name, t in tensors.items() if name not in layout.shapes}

    def at_once(self) -> int:
        """How many networks: one for each thread, if none of them changes the numbers of another."""
        return 1 if self._alone else torch.get_num_threads()

    @staticmethod
    def laid_out(x: Tensor) -> Tensor:
        """The examples innermost in memory."""
        return x.movedim(0, -1).contiguous().movedim(-1, 0)

    def __call__(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        size = len(next(iter(weights.values())))
        shared = {name: t.expand(size, *t.shape).contiguous() for name, t in self._shared.items()}
        return stacked_forward(self._layers, {**shared, **weights}, x)


class _ByModules:
    """A network as the module it is."""

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        self._model = prepare_layers(model)
        self._parameters = dict(model.named_parameters())
        example = x[:1].clone()
        version, state = example._version, torch.get_rng_state()
        with torch.no_grad(), own_draws(x.device):
            self._model(example)
            self._draws = not torch.equal(state, torch.get_rng_state())
        self._in_place = example._version != version

    @staticmethod
    def at_once() -> int:
        """How many networks."""
        return 1

    @staticmethod
    def laid_out(x: Tensor) -> Tensor:
        """Images with their channels innermost in memory."""
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x

    def __call__(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        for name, weight in weights.items():
            self._parameters[name].data = self.laid_out(weight[0])
        version = x._version
        with own_draws(x.device, self._draws):
            if self._draws:
                seed_draws(0, x.device)  # the same for every network
            outputs: Tensor = self._model(x.clone() if self._in_place else x)
        if x._version != version:
            raise EvooptError("the model sometimes changes its inputs in place; have it work on a copy")
        return outputs.unsqueeze(0)


def _known(model: nn.Module, x: Tensor) -> bool:
    """Whether kernels run all products of a model on these inputs: other ways may round by batch."""
    products = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return stackable(with_given_dropout(copy.deepcopy(model))) and all(
        convolution.suits(m, x) if isinstance(m, nn.Conv2d) else linear.suits(x, m.weight) for m in products
    )


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
    size = min(_LARGEST_BATCH, max(1, _CACHE_BYTES // largest))
    return size // _WHOLE_VECTORS * _WHOLE_VECTORS or size
