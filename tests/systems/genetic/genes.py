"""Chromosomes taken apart and put together again."""

from __future__ import annotations

import torch
from torch import Tensor

from evoopt.systems.genetic.chromosome import Encoding


def encode(encoding: Encoding, row: Tensor) -> tuple[Tensor, ...]:
    """Genes of a row of weights ``[D]``, each as a vector: a unit's weights, then its bias."""
    return torch.split(row[torch.argsort(encoding.gene, stable=True)], torch.bincount(encoding.gene).tolist())


def decode(encoding: Encoding, genes: tuple[Tensor, ...]) -> Tensor:
    """The row of weights ``[D]`` of such genes."""
    joined = torch.cat(genes)
    return torch.empty_like(joined).index_copy_(0, torch.argsort(encoding.gene, stable=True), joined)
