"""GADAM's individual: a unit model, whose chromosome is its row of weights, and the operators on it.

Zhang and Gouza (2018), *GADAM: Genetic-Evolutionary ADAM for Deep Neural Network Optimization*; equation
numbers are theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from evoopt.errors import EvooptError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from evoopt.training.population import ModelPopulation

MutationKind = Literal["uniform", "gaussian", "additive"]
"""What a mutated scalar becomes: ``uniform``: a number from U(0, 1), as published; ``gaussian``: one from
N(0, s) with s the standard deviation of the weights of its tensor in the child; ``additive``: itself plus
such a number."""


@dataclass(frozen=True)
class UnitModel:
    """How a unit model came to be, and how it did.

    Attributes:
        p_inherit: Probability with which each scalar came from the first parent (eq. 10).
        mutation_rate: Probability with which each was mutated (eq. 12).
        loss: Mean loss on the validation batch on which survivors were chosen; None before.
        adopted: Whether it was among the survivors; None before.
    """

    p_inherit: float | None = None
    mutation_rate: float | None = None
    loss: float | None = None
    adopted: bool | None = None

    @property
    def key(self) -> str:
        """Unit models have no hash: no two have the same weights."""
        return ""

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        return {"version": 1, **asdict(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> UnitModel:
        """Read what `to_json` wrote.

        Raises:
            EvooptError: Something else.
        """
        try:
            known = {name: data[name] for name in cls.__dataclass_fields__}
        except (KeyError, TypeError):
            raise EvooptError("not the record of a unit model") from None
        return cls(**known)


def normalised(losses: Sequence[float]) -> NDArray[np.float64]:
    """Min-max normalised losses in [0, 1] (text below eq. 7); not finite counts as worst, all equal as 0."""
    values = np.asarray(losses, np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(len(values))
    low, high = values[finite].min(), values[finite].max()
    scaled = np.zeros(len(values)) if high == low else (np.where(finite, values, high) - low) / (high - low)
    return np.where(finite, scaled, 1.0)


def selection_probabilities(losses: Sequence[float]) -> NDArray[np.float64]:
    """P_i = softmax of the negative normalised losses (eq. 8); the best is at most e times likelier.

    What has diverged is no parent, unless everything has.
    """
    finite = np.isfinite(np.asarray(losses, np.float64))
    weights = np.where(finite | ~finite.any(), np.exp(-normalised(losses)), 0.0)
    return np.asarray(weights / weights.sum())


def select_pairs(losses: Sequence[float], pairs: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Draw pairs of parents with replacement, both of a pair too, by eq. 8."""
    drawn = rng.choice(len(losses), size=(pairs, 2), p=selection_probabilities(losses))
    return [(int(a), int(b)) for a, b in drawn]


def inheritance(losses: Sequence[float], a: int, b: int) -> float:
    """p_ij, with which each scalar comes from parent ``a`` and not ``b`` (eq. 10), in [0.2689, 0.7311]."""
    scaled = normalised(losses)
    return float(1 / (1 + math.exp(scaled[a] - scaled[b])))


def pair_mutation_rate(losses: Sequence[float], a: int, b: int, base: float) -> float:
    """p_q = base * (1 - P_a - P_b) (eq. 12), at least 0: it is less for the best with itself if g <= 3."""
    probabilities = selection_probabilities(losses)
    # Two distinct parents of two have P_a + P_b = 1; what rounding leaves is no probability.
    rate = 1.0 - probabilities[a] - probabilities[b]
    return float(base * rate) if rate > 1e-12 else 0.0


def mate(a: Tensor, b: Tensor, p_inherit: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Uniform crossover of two rows of weights ``[D]`` (eq. 9).

    Returns:
        The child, and which scalars are ``a``'s (bool ``[D]``).
    """
    import torch  # by those alone who compute

    from_a = (torch.rand(a.shape, generator=generator, dtype=torch.float64) <= p_inherit).to(a.device)
    return torch.where(from_a, a, b), from_a


def mutate(
    child: Tensor, rate: float, kind: MutationKind, sizes: Sequence[int], generator: torch.Generator
) -> Tensor:
    """Change each scalar of a row ``[D]`` with probability ``rate`` (eq. 11).

    Args:
        child: The row.
        rate: p_q.
        kind: What a mutated scalar becomes.
        sizes: Lengths of the tensors the row is made of, in order; their standard deviations scale the noise.
        generator: Source of randomness, on the CPU so that it is the same on every device.
    """
    import torch  # by those alone who compute

    hit = (torch.rand(child.shape, generator=generator, dtype=torch.float64) < rate).to(child.device)
    if kind == "uniform":
        value = torch.rand(child.shape, generator=generator, dtype=torch.float32).to(child)
        return torch.where(hit, value, child)
    noise = torch.randn(child.shape, generator=generator, dtype=torch.float32).to(child)
    parts = [part for part in torch.split(child, list(sizes)) if len(part)]
    scales = [part.std(correction=0).expand(len(part)) for part in parts]
    noise = noise * torch.cat(scales)
    return torch.where(hit, child + noise if kind == "additive" else noise, child)


def average(population: ModelPopulation) -> ModelPopulation:
    """One model whose weights and running statistics are the means of all members'.

    Ours, not the paper's, which keeps the best model alone; Wortsman et al. (2022), *Model soups*, call it a
    uniform soup. What cannot be averaged, such as counters, is the first member's.
    """
    mean = population[[0]]
    mean.weights.copy_(population.weights.mean(dim=0, keepdim=True))
    for name, stack in population.state.items():
        if stack.is_floating_point():
            mean.state[name].copy_(stack.mean(dim=0, keepdim=True))
    return mean
