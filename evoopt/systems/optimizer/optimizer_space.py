"""The space that genomes are drawn from: allowed terms, longest genome, range of every gene."""

from __future__ import annotations

from dataclasses import dataclass, field

from evoopt.errors import EvooptError, unknown_name
from evoopt.optim.terms import TERMS, term

DEFAULT_RANGES: dict[str, tuple[float, float]] = {
    "weight": (0.01, 10.0),
    "lr_log10": (-5.0, -0.5),
    "beta1": (0.0, 0.999),
    "beta2": (0.0, 0.9999),
    "beta3": (0.0, 0.999),
    "eps_log10": (-10.0, -4.0),
    "wd_log10": (-6.0, -1.0),
    "clip_value": (0.01, 10.0),
    "warmup_steps": (1.0, 500.0),
}
"""Lowest and highest value of each number gene; ``weight`` is the magnitude of a term's weight."""


@dataclass(frozen=True)
class OptimizerSpace:
    """Where the robust operators keep genomes.

    Attributes:
        terms: Names of the terms that may occur.
        max_terms: Longest genome, in terms.
        ranges: Lowest and highest value per number gene; genes not named keep `DEFAULT_RANGES`.
        nesterov_beta: Constant of the Nesterov term in new genomes, None for ``beta1``.

    Raises:
        EvooptError: An unknown term or gene, or a range upside down or outside what the gene allows.
    """

    terms: tuple[str, ...] = tuple(t.name for t in TERMS)
    max_terms: int = 4
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    nesterov_beta: float | None = None

    def __post_init__(self) -> None:
        names = tuple(dict.fromkeys(term(name).name for name in self.terms))
        if not names:
            raise EvooptError("the search space allows no term: name at least one in genome.terms")
        if without := sorted(set(names) - {entry.name for entry in TERMS}):
            raise EvooptError(f"genome.terms: no search knows {', '.join(without)} yet; leave it out")
        object.__setattr__(self, "terms", names)
        if self.max_terms < 1:
            raise EvooptError(f"genome.max_terms must be at least 1, not {self.max_terms}")
        for name, (low, high) in self.ranges.items():
            if name not in DEFAULT_RANGES:
                raise unknown_name("gene", name, DEFAULT_RANGES)
            if not low <= high:
                raise EvooptError(
                    f"range of gene {name!r} is upside down: [{low:g}, {high:g}]; write the smaller first"
                )
            lowest, highest = _ALLOWED[name]
            if low < lowest or high > highest:
                raise EvooptError(
                    f"range of gene {name!r} must lie in [{lowest:g}, {highest:g}], not [{low:g}, {high:g}]"
                )
        object.__setattr__(self, "ranges", {**DEFAULT_RANGES, **self.ranges})

    @property
    def longest(self) -> int:
        """Longest genome the robust operators build; they use each term at most once."""
        return min(self.max_terms, len(self.terms))


_ALLOWED: dict[str, tuple[float, float]] = {
    "weight": (1e-12, 1e6),
    "lr_log10": (-20.0, 3.0),
    "beta1": (0.0, 0.999999),
    "beta2": (0.0, 0.999999),
    "beta3": (0.0, 0.999999),
    "eps_log10": (-30.0, 3.0),
    "wd_log10": (-20.0, 3.0),
    "clip_value": (1e-12, 1e12),
    "warmup_steps": (1.0, 1e9),
}
