"""Operators on optimizer genomes exactly as published (Marfinetz 2025, and its notebook).

Kept for reproduction. They drift: crossover favours long genomes with repeated terms, and weights never
change sign (see `evoopt.systems.optimizer.robust` for the operators that searches use by default).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.optimizer_space import OptimizerSpace

_FLAGS = ("use_m", "use_v", "use_bias_correction", "use_gradient_clipping", "use_warmup", "use_cosine_decay")
_SCALARS = (
    "lr_log10", "beta1", "beta2", "beta3", "eps_log10", "wd_log10", "clip_value", "warmup_steps",
    "use_weight_decay", "nesterov_beta", *_FLAGS,
)  # fmt: skip

PUBLISHED_SEEDS: tuple[OptimizerGenome, ...] = (
    OptimizerGenome(
        ("momentum",), (1.0,), lr_log10=-2.0, use_v=False, use_bias_correction=False, wd_log10=-4.0
    ),
    OptimizerGenome(("adam",), (1.0,), lr_log10=-3.0, wd_log10=-4.0),
    OptimizerGenome(("adam",), (1.0,), lr_log10=-3.0, wd_log10=-2.0),
    OptimizerGenome(
        ("rms_norm",),
        (1.0,),
        lr_log10=-3.0,
        beta2=0.99,
        use_m=False,
        use_bias_correction=False,
        wd_log10=-4.0,
    ),
)
"""The four genomes of the published initial population: SGD, Adam, AdamW, RMSprop. Its SGD averages the
momentum, so its learning rate of 1e-2 equals 1e-3 in `torch.optim.SGD`."""


@dataclass(frozen=True)
class LiteralOperators:
    """Random genome, crossover and mutation of the published search.

    Attributes:
        space: Allowed terms and longest genome; its ranges are not used, the published constants are.
    """

    space: OptimizerSpace

    def seeds(self) -> tuple[OptimizerGenome, ...]:
        """Genomes that the initial population starts with."""
        return tuple(replace(genome, nesterov_beta=self.space.nesterov_beta) for genome in PUBLISHED_SEEDS)

    def random(self, rng: np.random.Generator) -> OptimizerGenome:
        """Draw a genome of one to three terms."""
        length = int(rng.integers(1, min(3, self.space.max_terms) + 1))
        return OptimizerGenome(
            terms=tuple(_choice(self.space.terms, rng) for _ in range(length)),
            weights=tuple(float(w) for w in rng.uniform(-1, 1, length)),
            lr_log10=float(rng.uniform(-4, -2)),
            beta1=float(rng.uniform(0.5, 0.99)),
            beta2=float(rng.uniform(0.9, 0.9999)),
            eps_log10=float(rng.uniform(-9, -6)),
            wd_log10=float(rng.uniform(-5, -3)),
            use_m=bool(rng.random() < 0.7),
            use_v=bool(rng.random() < 0.7),
            use_bias_correction=bool(rng.random() < 0.6),
            use_gradient_clipping=bool(rng.random() < 0.2),
            clip_value=float(rng.uniform(0.5, 2.0)),
            use_warmup=bool(rng.random() < 0.3),
            warmup_steps=int(rng.integers(50, 201)),
            use_cosine_decay=bool(rng.random() < 0.3),
            nesterov_beta=self.space.nesterov_beta,
        )

    def mate(self, a: OptimizerGenome, b: OptimizerGenome, rng: np.random.Generator) -> OptimizerGenome:
        """One child: a head of a's terms, a tail of b's, cut to the longest genome; other genes at random."""
        head = int(rng.integers(1, len(a.terms) + 1)) if len(a.terms) > 1 else 1
        tail = int(rng.integers(0, len(b.terms)))
        longest = self.space.max_terms
        picked = {name: getattr(a if rng.random() < 0.5 else b, name) for name in _SCALARS}
        return OptimizerGenome(
            terms=(a.terms[:head] + b.terms[tail:])[:longest],
            weights=(a.weights[:head] + b.weights[tail:])[:longest],
            **picked,
        )

    def mutate(
        self, genome: OptimizerGenome, rng: np.random.Generator, progress: float = 0.0
    ) -> OptimizerGenome:
        """Vary a genome; steps and probabilities halve over the search.

        Args:
            genome: Not changed.
            rng: Source of randomness.
            progress: Share of the generations done, 0 to 1.
        """
        d = 1.0 - 0.5 * progress
        p_number, p_structure, p_flag, sigma = 0.35 * d, 0.15 * d, 0.1 * d, 0.3 * d
        changes: dict[str, Any] = {}
        for name, step, low, high in (
            ("lr_log10", sigma, -5.0, -1.0),
            ("beta1", 0.2 * sigma, 0.0, 0.999),
            ("beta2", 0.1 * sigma, 0.0, 0.9999),
            ("eps_log10", sigma, -10.0, -4.0),
            ("wd_log10", sigma, -6.0, -2.0),
        ):
            if rng.random() < p_number:
                changes[name] = min(high, max(low, getattr(genome, name) + float(rng.normal(0, step))))
        weights = list(genome.weights)
        for k, weight in enumerate(weights):
            if rng.random() < p_number:
                weights[k] = min(5.0, max(-5.0, weight * math.exp(float(rng.normal(0, sigma)))))
        terms = list(genome.terms)
        if rng.random() < p_structure:
            self._restructure(terms, weights, rng)
        for name in _FLAGS:
            if rng.random() < p_flag:
                changes[name] = not getattr(genome, name)
        return replace(genome, terms=tuple(terms), weights=tuple(weights), **changes)

    def _restructure(self, terms: list[str], weights: list[float], rng: np.random.Generator) -> None:
        operation = int(rng.integers(3))
        if operation == 0 and len(terms) < self.space.max_terms:
            terms.append(_choice(self.space.terms, rng))
            weights.append(float(rng.uniform(-1, 1)))
        elif operation == 1 and len(terms) > 1:
            k = int(rng.integers(len(terms)))
            del terms[k], weights[k]
        elif operation == 2:
            terms[int(rng.integers(len(terms)))] = _choice(self.space.terms, rng)


def _choice(names: tuple[str, ...], rng: np.random.Generator) -> str:
    return names[int(rng.integers(len(names)))]
