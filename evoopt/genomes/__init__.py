"""What is an individual? Frozen records and the pure operators that vary them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np

from evoopt.genomes.hyperparameters import Hyperparameters
from evoopt.genomes.optimizer import OptimizerGenome
from evoopt.genomes.unit_model import UnitModel
from evoopt.genomes.weight_genome import WeightGenome

G = TypeVar("G")


class Operators(Protocol[G]):
    """What evolution needs of a genome type; all functions are pure and draw from ``rng`` alone."""

    def random(self, rng: np.random.Generator) -> G:
        """Draw a new genome."""

    def mate(self, a: G, b: G, rng: np.random.Generator) -> G:
        """Recombine two genomes into one child; the parents stay unchanged."""

    def mutate(self, genome: G, rng: np.random.Generator, progress: float) -> G:
        """Vary a genome; ``progress`` is the share of the generations done, 0 to 1."""


class Genome(Protocol):
    """What the run store needs of a genome."""

    @property
    def key(self) -> str:
        """Hash shared by genomes that mean the same, which are scored once."""

    def to_json(self) -> dict[str, Any]:
        """Versioned JSON object."""


GENOMES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "optimizer": OptimizerGenome.from_json,
    "gadam": UnitModel.from_json,
    "genetic": WeightGenome.from_json,
    "recombination": Hyperparameters.from_json,
}
"""What reads a genome's JSON, by individual type."""
