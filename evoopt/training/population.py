"""`ModelPopulation`: many models of one architecture with stacked weights, the base of all four systems."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.tasks.task import Task
from evoopt.training.dropout import dropouts, with_given_dropout
from evoopt.training.flat import FlatLayout
from evoopt.training.layers import Reporting, prepare_layers
from evoopt.training.stacked import Layer, stackable, stacked_layers
from evoopt.training.streams import initial_model
from evoopt.training.weights_file import load_stack, save_stack

Way = Literal["stacked", "vmap", "loop"]
"""How a forward pass runs: ``stacked`` layer by layer over all members (`nn.Sequential` of common layers),
``vmap`` over any model, ``loop`` one member after another."""


class Manner(NamedTuple):
    """How models of one architecture run; `evoopt.training.trial_run` finds out.

    Attributes:
        way: How a forward pass runs.
        loss_by_member: Whether the loss is asked about one member after another, because vmap cannot run it.
        draws: Whether the models draw random numbers besides those that are given to dropout modules.
    """

    way: Way
    loss_by_member: bool = False
    draws: bool = False


@dataclass(frozen=True)
class Architecture:
    """What the members of a population have in common.

    Attributes:
        model: The original model; members taken out are copies of it.
        template: The same, rewritten for given dropout and speed; called with other tensors than its own.
        layout: Where each trained parameter lies in a row of weights.
        manner: How models run.
    """

    model: nn.Module
    template: nn.Module
    layout: FlatLayout
    manner: Manner

    @classmethod
    def of(cls, model: nn.Module, manner: Manner | Way | Literal["auto"] = "auto") -> Architecture:
        """Take a model's architecture; ``auto`` chooses ``stacked`` where it can, else ``vmap``.

        Raises:
            EvooptError: ``stacked`` is asked for and impossible.
        """
        model = copy.deepcopy(model).cpu()
        template = prepare_layers(with_given_dropout(copy.deepcopy(model))).train()
        if manner == "auto":
            manner = "stacked" if stackable(template) else "vmap"
        manner = Manner(manner) if isinstance(manner, str) else manner
        if manner.way == "stacked" and not stackable(template):
            raise EvooptError("way 'stacked' needs an nn.Sequential of common layers; use 'vmap' or 'auto'")
        convolves = any(isinstance(module, nn.Conv2d) for module in model.modules())
        shapes = {name: p.shape for name, p in model.named_parameters() if p.requires_grad}
        layout = FlatLayout(shapes, channels_last=manner.way == "loop" and convolves)
        return cls(model, template, layout, manner)

    @property
    def way(self) -> Way:
        """How a forward pass runs."""
        return self.manner.way

    @cached_property
    def image_layout(self) -> torch.memory_format:
        """Layout of images that a loop reads.

        Channels last is faster, but before torch 2.15 the backward pass of a GroupNorm whose input needs no
        gradient writes such a gradient through a null pointer, in plain PyTorch too.
        """
        normed = any(isinstance(module, nn.GroupNorm) for module in self.model.modules())
        return torch.contiguous_format if normed and torch.__version__ < "2.15" else torch.channels_last

    @cached_property
    def reporting(self) -> Reporting:
        """The template, which also tells of buffers that were assigned anew."""
        return Reporting(self.template)

    @cached_property
    def layers(self) -> list[Layer]:
        """The template's layers, for the way ``stacked``."""
        return stacked_layers(self.template)

    @property
    def state(self) -> dict[str, Tensor]:
        """What besides the trained parameters makes up a model: buffers and frozen parameters."""
        frozen = {name: p.detach() for name, p in self.model.named_parameters() if not p.requires_grad}
        return {**frozen, **dict(self.model.named_buffers())}


class ModelPopulation:
    """P models of one architecture.

    Attributes:
        architecture: What they have in common.
        weights: All trained parameters, one row per member, ``[P, D]``, where the architecture's layout says;
            written in place by training.
        parameters: Views of ``weights``, ``[P, *shape]`` by name.
        state: Buffers and frozen parameters, ``[P, *shape]`` by name.
        rates: Dropout rate of each dropout module, ``[P]`` by module name; write to them to change them.
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: Tensor,
        state: Mapping[str, Tensor],
        rates: Mapping[str, Tensor],
    ) -> None:
        self.architecture = architecture
        self.weights = weights
        self.parameters = architecture.layout.views(weights)
        self.state = dict(state)
        self.rates = dict(rates)
        self._viewed = weights, self.parameters

    @classmethod
    def from_models(
        cls, models: Sequence[nn.Module], way: Manner | Way | Literal["auto"] = "auto"
    ) -> ModelPopulation:
        """Stack copies of models of one architecture, on the first one's device.

        Raises:
            EvooptError: No model, models of different architectures, or see `Architecture.of`.
        """
        if not models:
            raise EvooptError("a population needs at least one model")
        tensors = [*models[0].parameters(), *models[0].buffers()]
        population = cls._empty(Architecture.of(models[0], way), len(models))
        for index, model in enumerate(models):
            population.set_member(index, model)
        return population.to(tensors[0].device) if tensors else population

    @classmethod
    def from_model(
        cls, model: nn.Module, size: int, way: Manner | Way | Literal["auto"] = "auto"
    ) -> ModelPopulation:
        """``size`` copies of one model."""
        return cls.from_models([model], way)[[0] * size]

    @classmethod
    def from_seeds(
        cls, task: Task, seeds: Sequence[int], way: Way | Literal["auto"] = "auto"
    ) -> ModelPopulation:
        """The task's model, initialised once per seed."""
        return cls.from_models([initial_model(task, seed) for seed in seeds], way)

    @classmethod
    def _empty(cls, architecture: Architecture, size: int) -> ModelPopulation:
        dtypes = {p.dtype for p in architecture.model.parameters() if p.requires_grad}
        if len(dtypes) > 1:
            raise EvooptError("all trained parameters of a population must have one dtype")
        weights = torch.zeros(size, architecture.layout.size, dtype=next(iter(dtypes), torch.float32))
        state = {name: t.expand(size, *t.shape).clone() for name, t in architecture.state.items()}
        rates = {name: d.p.expand(size).clone() for name, d in dropouts(architecture.template)}
        return cls(architecture, weights, state, rates)

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.weights.device

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """Views of rows that are laid out as `weights` are, by name; kept until other rows are asked for."""
        if self._viewed[0] is not rows:
            self._viewed = rows, self.architecture.layout.views(rows)
        return self._viewed[1]

    def packed(self) -> Tensor:
        """Copies of all trained parameters one after another, one row per member, ``[P, count]``."""
        return self.architecture.layout.packed(self.weights)

    def __getitem__(self, indices: Tensor | Sequence[int]) -> ModelPopulation:
        """A new population of copies of the members at ``indices``, which may repeat."""
        index = torch.as_tensor(indices, dtype=torch.int64, device=self.device)
        return self._mapped(lambda stack: stack[index])

    def part(self, start: int, stop: int) -> ModelPopulation:
        """Members ``start`` to ``stop - 1``, sharing memory with this population."""
        return self._mapped(lambda stack: stack[start:stop])

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> ModelPopulation:
        state, rates = ({n: change(t) for n, t in stacks.items()} for stacks in (self.state, self.rates))
        return ModelPopulation(self.architecture, change(self.weights), state, rates)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> ModelPopulation:
        """The population on a device, its weights and floating-point buffers converted to ``dtype``."""
        return ModelPopulation(
            self.architecture,
            self.weights.to(device, dtype),
            {n: t.to(device, dtype if t.is_floating_point() else None) for n, t in self.state.items()},
            {name: t.to(device) for name, t in self.rates.items()},
        )

    def member(self, index: int) -> nn.Module:
        """Member ``index`` as a module of the original architecture, on the CPU, independent of the rest."""
        model = copy.deepcopy(self.architecture.model).to(self.weights.dtype)
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        with torch.no_grad():
            for name, stack in {**self.parameters, **self.state}.items():
                tensors[name].copy_(stack[index])
        for name, rate in self.rates.items():
            dropout = copy.copy(model.get_submodule(name))  # of one at two places each has its own rate
            dropout.p = float(rate[index])  # type: ignore[assignment]
            model.set_submodule(name, dropout)
        return model

    def set_member(self, index: int, model: nn.Module) -> None:
        """Overwrite member ``index`` with the parameters, buffers and dropout rates of a module.

        Raises:
            EvooptError: A module of another architecture.
        """
        given = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        stacks = {**self.parameters, **self.state}
        if {n: t.shape for n, t in given.items()} != {n: t.shape[1:] for n, t in stacks.items()}:
            raise EvooptError("the model's parameters and buffers are not those of the population's models")
        with torch.no_grad():
            for name, stack in stacks.items():
                stack[index].copy_(given[name])
            for name, rate in self.rates.items():
                rate[index] = model.get_submodule(name).p  # type: ignore[assignment]

    def save(self, path: Path) -> None:
        """Write all members to a safetensors file, completely or not at all."""
        tensors = {name: t.detach().cpu() for name, t in self._named().items()}
        save_stack(path, tensors, len(self))

    @classmethod
    def load(cls, path: Path, model: nn.Module, way: Way | Literal["auto"] = "auto") -> ModelPopulation:
        """Read a population written by `save`; ``model`` gives the architecture, its weights do not matter.

        Raises:
            EvooptError: Not such a file, or models of another architecture.
        """
        population = cls._empty(Architecture.of(model, way), 1)
        expected = {name: t.shape[1:] for name, t in population._named().items()}
        size, tensors = load_stack(path, expected)
        population = population[[0] * size]
        for name, tensor in population._named().items():
            tensor.copy_(tensors[name])
        return population

    def _named(self) -> dict[str, Tensor]:
        rates = {f"{name}.dropout_rate": rate for name, rate in self.rates.items()}
        return {**self.parameters, **self.state, **rates}
