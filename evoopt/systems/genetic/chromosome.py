"""A network as a chromosome: which weights make up a gene.

Esfahanian and Akhavan (2019), *GACNN*: in the *Accordion* (semi-folded) chromosome a gene is a filter of a
convolution or the ingoing weights of a neuron, in the *traditional* one a single scalar; *folded*, it has an
element for each layer and only describes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError, unknown_name
from evoopt.tasks.models.glorot import glorot_std

EncodingName = Literal["folded", "accordion", "traditional"]
Section = Literal["features", "classifier"]
SECTIONS: tuple[Section, ...] = get_args(Section)
"""The two parts of a chromosome: convolutions, and linear layers."""


@dataclass(frozen=True)
class GeneLayer:
    """The genes of one layer.

    Attributes:
        name: Qualified name of the module.
        section: ``"features"`` for a `Conv2d`, ``"classifier"`` for a `Linear`.
        genes: Their ids.
        std: Standard deviation of Glorot's initialisation of the layer's weights.
    """

    name: str
    section: Section
    genes: range
    std: float


@dataclass(frozen=True, eq=False)
class Encoding:
    """Genes of a model, and where they lie in a row of weights.

    A row holds the trained parameters one after another in the order of `nn.Module.named_parameters`, as
    `evoopt.training.population.ModelPopulation.packed` gives them. A unit's bias belongs to its gene. Buffers
    and frozen parameters are no genes.

    Attributes:
        name: Which encoding.
        gene: Gene id of each weight of a row, int64 ``[D]``.
        layers: The layers in order; their genes are numbered through.
    """

    name: EncodingName
    gene: Tensor
    layers: tuple[GeneLayer, ...]

    @classmethod
    def of(cls, model: nn.Module, name: EncodingName = "accordion") -> Encoding:
        """Encode a model of `Conv2d` and `Linear` layers.

        Raises:
            EvooptError: Unknown encoding, a layer of another kind with trained parameters, or none at all.
        """
        if name not in get_args(EncodingName):
            raise unknown_name("encoding", name, get_args(EncodingName))
        layers: list[GeneLayer] = []
        blocks: list[Tensor] = []
        for layer, module, parameters in _trained(model):
            first = layers[-1].genes.stop if layers else 0
            owners, count = _genes(name, parameters)
            blocks.append(first + owners)
            section: Section = "features" if isinstance(module, nn.Conv2d) else "classifier"
            std = glorot_std(module.weight.shape)
            layers.append(GeneLayer(layer, section, range(first, first + count), std))
        if not layers:
            raise EvooptError("the model has no trained Conv2d or Linear layer: nothing to evolve")
        return cls(name, torch.cat(blocks), tuple(layers))

    def __len__(self) -> int:
        """Number of genes."""
        return self.layers[-1].genes.stop

    def genes_of(self, section: Section) -> Tensor:
        """Ids of a section's genes, int64."""
        ranges = [torch.arange(x.genes.start, x.genes.stop) for x in self.layers if x.section == section]
        return torch.cat(ranges) if ranges else torch.empty(0, dtype=torch.int64)

    @cached_property
    def layer(self) -> Tensor:
        """Position in `layers` of each gene, int64 ``[len(self)]``."""
        return torch.cat([torch.full((len(x.genes),), k) for k, x in enumerate(self.layers)])

    @cached_property
    def std(self) -> Tensor:
        """Initial standard deviation of each gene's weights, float64 ``[len(self)]``."""
        return torch.tensor([x.std for x in self.layers], dtype=torch.float64)[self.layer]


def _genes(name: EncodingName, parameters: Sequence[Tensor]) -> tuple[Tensor, int]:
    """Gene of each number in a layer's parameters, counted from 0, and how many there are."""
    total = sum(p.numel() for p in parameters)
    if name == "traditional":
        return torch.arange(total), total
    if name == "folded":
        return torch.zeros(total, dtype=torch.int64), 1
    units = len(parameters[0])
    owners = [torch.arange(units).repeat_interleave(p.numel() // units) for p in parameters]
    return torch.cat(owners), units


def _trained(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d | nn.Linear, list[Tensor]]]:
    """Layers with their trained parameters in the order of `named_parameters`: shared ones once."""
    seen: set[Tensor] = set()
    for name, module in model.named_modules():
        direct = {
            key: p for key, p in module.named_parameters(recurse=False) if p.requires_grad and p not in seen
        }
        seen.update(direct.values())
        if not direct:
            continue
        if not isinstance(module, (nn.Conv2d, nn.Linear)) or set(direct) - {"weight", "bias"}:
            raise EvooptError(
                f"layer {name or 'itself'!r} ({type(module).__name__}) has no encoding: a chromosome holds "
                "Conv2d and Linear layers; replace it, or freeze its parameters with requires_grad_(False)"
            )
        yield name, module, list(direct.values())
