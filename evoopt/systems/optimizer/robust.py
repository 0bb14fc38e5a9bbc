"""Operators on optimizer genomes without a preference of their own: the default of a search.

A genome's terms are treated as a set. With fitness that says nothing, lengths stay uniform on 1..longest
and every term equally frequent: crossover copies one parent's length and takes each unshared term with
probability one half; adding and removing are equally likely; numbers move in a scale on which they are
uniform, reflected at the bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evoopt.optim.presets import preset
from evoopt.systems.optimizer.gene_scale import decode, move, position
from evoopt.systems.optimizer.optimizer_genome import CONSTANTS, FLAGS, OptimizerGenome
from evoopt.systems.optimizer.optimizer_space import OptimizerSpace


@dataclass(frozen=True)
class RobustOperators:
    """Random genome, crossover and mutation inside an `OptimizerSpace`.

    Attributes:
        space: Allowed terms, longest genome and ranges.
        initial: Presets that the initial population starts with.
        p_number: Probability that a number gene or a weight moves in a mutation.
        p_structure: Probability of each of adding, removing and exchanging a term.
        p_flag: Probability that a switch flips, or a weight changes sign.
        sigma: Standard deviation of a move, as a share of the gene's range on its own scale.
    """

    space: OptimizerSpace
    initial: tuple[str, ...] = ()
    p_number: float = 0.25
    p_structure: float = 0.1
    p_flag: float = 0.05
    sigma: float = 0.1

    def seeds(self) -> tuple[OptimizerGenome, ...]:
        """Genomes that the initial population starts with."""
        return tuple(OptimizerGenome.from_rule(preset(name).canonical()) for name in self.initial)

    def mutant(self, rng: np.random.Generator) -> OptimizerGenome:
        """Draw one of the initial presets and mutate it."""
        seeds = self.seeds()
        return self.mutate(seeds[int(rng.integers(len(seeds)))], rng)

    def random(self, rng: np.random.Generator) -> OptimizerGenome:
        """Draw a genome: length, terms, switches and numbers each uniform (numbers on their own scale)."""
        length = int(rng.integers(1, self.space.longest + 1))
        terms = [self.space.terms[i] for i in rng.permutation(len(self.space.terms))[:length]]
        constants = {name: self._draw(name, rng) for name in CONSTANTS}
        return OptimizerGenome(
            terms=tuple(terms),
            weights=tuple(self._draw_weight(rng) for _ in terms),
            nesterov_beta=self.space.nesterov_beta,
            **constants,  # type: ignore[arg-type]
            **{name: bool(rng.random() < 0.5) for name in FLAGS},
            stages=self.space.stages.random(rng),
        )

    def mate(self, a: OptimizerGenome, b: OptimizerGenome, rng: np.random.Generator) -> OptimizerGenome:
        """One child. It has the length of one parent, all terms that both have, and some of the others.

        ``mate(p, p)`` is ``p`` for any genome without repeated terms.
        """
        genes_a = dict(zip(a.terms, a.weights, strict=True))
        genes_b = dict(zip(b.terms, b.weights, strict=True))
        shared = [name for name in genes_a if name in genes_b]
        unshared = [name for name in (*genes_a, *genes_b) if (name in genes_a) != (name in genes_b)]
        length = len(genes_a if rng.random() < 0.5 else genes_b)
        extra = rng.permutation(len(unshared))[: length - len(shared)]
        chosen = {*shared, *(unshared[i] for i in extra)}
        child = {}
        for name in dict.fromkeys((*genes_a, *genes_b)):
            if name in chosen:
                first, second = (genes_a, genes_b) if rng.random() < 0.5 else (genes_b, genes_a)
                child[name] = first.get(name, second.get(name, 0.0))
        picked = {
            name: getattr(a if rng.random() < 0.5 else b, name)
            for name in (*CONSTANTS, *FLAGS, "nesterov_beta")
        }
        stages = self.space.stages.mate(a.stages, b.stages, rng)
        return OptimizerGenome(terms=tuple(child), weights=tuple(child.values()), stages=stages, **picked)

    def mutate(
        self, genome: OptimizerGenome, rng: np.random.Generator, progress: float = 0.0
    ) -> OptimizerGenome:
        """Vary a genome.

        Args:
            genome: Not changed.
            rng: Source of randomness.
            progress: Ignored; the published operators anneal with it.
        """
        changes: dict[str, Any] = {
            name: self._move(name, getattr(genome, name), rng)
            for name in CONSTANTS
            if rng.random() < self.p_number
        }
        for name in FLAGS:
            if rng.random() < self.p_flag:
                changes[name] = not getattr(genome, name)
        genes = dict(zip(genome.terms, genome.weights, strict=True))
        for name, weight in genes.items():
            if rng.random() < self.p_number:
                weight = math.copysign(float(self._move("weight", abs(weight), rng)), weight)
            if rng.random() < self.p_flag:
                weight = -weight
            genes[name] = weight
        self._restructure(genes, rng)
        changes["stages"] = self.space.stages.mutate(
            genome.stages, rng, self.p_flag, self.p_number, self.sigma
        )
        return replace(genome, terms=tuple(genes), weights=tuple(genes.values()), **changes)

    def _restructure(self, genes: dict[str, float], rng: np.random.Generator) -> None:
        # One draw decides among four outcomes, so that adding and removing stay equally likely at every
        # length: a step that is impossible at the end of the range is no step at all.
        draw = rng.random()
        absent = [name for name in self.space.terms if name not in genes]
        present = list(genes)
        if draw < self.p_structure:
            if len(present) < self.space.longest:
                genes[absent[int(rng.integers(len(absent)))]] = self._draw_weight(rng)
        elif draw < 2 * self.p_structure:
            if len(present) > 1:
                del genes[present[int(rng.integers(len(present)))]]
        elif draw < 3 * self.p_structure and absent:
            weight = genes.pop(present[int(rng.integers(len(present)))])
            genes[absent[int(rng.integers(len(absent)))]] = weight

    def _draw_weight(self, rng: np.random.Generator) -> float:
        magnitude = float(self._draw("weight", rng))
        return magnitude if rng.random() < 0.5 else -magnitude

    def _draw(self, name: str, rng: np.random.Generator) -> float | int:
        bounds = self.space.ranges[name]
        low, high = sorted(position(name, value) for value in bounds)
        return decode(name, float(rng.uniform(low, high)), bounds)

    def _move(self, name: str, value: float, rng: np.random.Generator) -> float | int:
        return move(name, value, self.space.ranges[name], self.sigma, rng)
