"""Crossover and mutation of chromosomes of weights, as operations on rows ``[n, D]`` of many of them.

Esfahanian and Akhavan (2019), section 4. Every row has a random stream of its own, and all numbers are drawn
on the CPU in float64: children depend on neither the device nor on who is made beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.systems.genetic.chromosome import SECTIONS, Encoding, Section
from evoopt.tasks.models.glorot import truncated_normal

Rngs = Sequence[np.random.Generator]


@dataclass(frozen=True)
class Mutation:
    """How a chromosome is mutated: in each section some genes, chosen uniformly, get noise added.

    Attributes:
        ratio: Share of each section's genes, rounded down but at least one gene; 0 for none.
        sigma: Standard deviation of the noise on weights of convolutions, independent for each weight.
        per_weight: Noise on linear layers is drawn from the layer's initial distribution: once for each gene
            and added to all of its weights, as in the authors' code, or once for each weight.
        matched: Scale the noise so that the mean square of a section's change is the same in every encoding
            (it differs because the number of genes is rounded).
    """

    ratio: float = 0.1
    sigma: float = 0.5
    per_weight: bool = False
    matched: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.ratio <= 1:
            raise EvooptError(f"the mutation ratio must lie between 0 and 1, not {self.ratio:g}")
        if not 0 <= self.sigma < math.inf:
            raise EvooptError(f"the mutation sigma must be a number of at least 0, not {self.sigma:g}")

    def count(self, genes: int) -> int:
        """How many of a section's genes change."""
        return min(genes, max(1, int(self.ratio * genes + 1e-9))) if self.ratio > 0 else 0


class WeightOperators:
    """Gene-wise operators of one encoding.

    Args:
        encoding: ``accordion`` or ``traditional``.
        mutation: How to mutate.

    Raises:
        EvooptError: The folded encoding, which has no operators.
    """

    def __init__(self, encoding: Encoding, mutation: Mutation | None = None) -> None:
        if encoding.name == "folded":
            raise EvooptError("the folded encoding only describes; evolve with 'accordion' or 'traditional'")
        self.encoding = encoding
        self.mutation = mutation or Mutation()
        self._gene, self._std = encoding.gene.numpy(), encoding.std.numpy()
        self._sections = {section: encoding.genes_of(section).numpy() for section in SECTIONS}

    def mate(self, a: Tensor, b: Tensor, rngs: Rngs) -> tuple[Tensor, Tensor]:
        """Uniform crossover: a fair coin for each gene.

        Args:
            a: First parents ``[n, D]``.
            b: Second parents ``[n, D]``.
            rngs: One stream for each pair.

        Returns:
            Children ``[n, D]``, and their complements, which take every gene from the other parent.
        """
        coins = np.stack([rng.integers(0, 2, len(self.encoding), dtype=np.int8) for rng in rngs])
        heads = torch.from_numpy(coins).to(a.device).bool()[:, self.encoding.gene.to(a.device)]
        return torch.where(heads, a, b), torch.where(heads, b, a)

    def mutate(self, rows: Tensor, rngs: Rngs) -> Tensor:
        """Mutated copies of rows ``[n, D]``, one stream for each."""
        drawn = [self.noise(rng) for rng in rngs]
        index = np.repeat(np.arange(len(rows)), [len(positions) for positions, _ in drawn])
        where = (
            torch.from_numpy(index).to(rows.device),
            torch.from_numpy(np.concatenate([positions for positions, _ in drawn])).to(rows.device),
        )
        noise = torch.from_numpy(np.concatenate([values for _, values in drawn])).to(rows.dtype)
        mutated = rows.clone()
        mutated[where] += noise.to(rows.device)
        return mutated

    def noise(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Draw one mutation: positions in a row, all different, and what to add there."""
        parts = [self._section_noise(section, rng) for section, genes in self._sections.items() if len(genes)]
        positions, values = zip(*parts, strict=True)
        return np.concatenate(positions), np.concatenate(values)

    def _section_noise(
        self, section: Section, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        genes = self._sections[section]
        count = self.mutation.count(len(genes))
        chosen = np.zeros(len(self.encoding), bool)
        chosen[rng.choice(genes, count, replace=False)] = True
        positions = np.flatnonzero(chosen[self._gene])
        owners = self._gene[positions]
        if section == "features":
            values = rng.standard_normal(len(positions)) * self.mutation.sigma
        elif self.mutation.per_weight:
            values = truncated_normal(len(positions), rng) * self._std[owners]
        else:
            of_gene = np.zeros(len(self.encoding))
            of_gene[chosen] = truncated_normal(count, rng)
            values = of_gene[owners] * self._std[owners]
        if self.mutation.matched and count:
            values = values * math.sqrt(self.mutation.ratio * len(genes) / count)
        return positions, values
