"""Operators on hyperparameter genomes.

Vose et al. (2019), *Recombination of Artificial Neural Networks*, section 6.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evoopt.systems.hyperparameters.hyperparameter_space import Hyperparameters, HyperparameterSpace
from evoopt.systems.hyperparameters.loci import CategoricalLocus, Locus, NumberLocus
from evoopt.training.member_hyperparameters import Value

Way = Callable[[Locus, Value, np.random.Generator], Value]
"""How a locus varies: maps its value to another one."""


class Recombinants(NamedTuple):
    """The two genotypes that a crossover makes of two.

    Attributes:
        first: The first parent's genotype, with the second's values at the loci swapped.
        second: The reverse.
        swapped: Whether each locus was swapped.
    """

    first: Hyperparameters
    second: Hyperparameters
    swapped: tuple[bool, ...]


def crossover(
    a: Hyperparameters,
    b: Hyperparameters,
    rng: np.random.Generator,
    rate: float = 0.33,
    run_length: bool = False,
) -> Recombinants:
    """Swap loci of two genomes of one space.

    Args:
        a: First parent.
        b: Second parent.
        rng: Source of randomness.
        rate: Probability of a swap at each locus.
        run_length: Whether a swap is of that locus and all that follow, so that neighbours stay linked.
    """
    hits = rng.random(len(a.genotype)) < rate
    if run_length:
        hits = np.cumsum(hits) % 2 == 1
    swapped = tuple(bool(hit) for hit in hits)
    pairs = list(zip(a.genotype, b.genotype, swapped, strict=True))
    first = tuple(theirs if swap else ours for ours, theirs, swap in pairs)
    second = tuple(ours if swap else theirs for ours, theirs, swap in pairs)
    return Recombinants(Hyperparameters(first, a.integers), Hyperparameters(second, a.integers), swapped)


def mutate(
    genome: Hyperparameters, rng: np.random.Generator, space: HyperparameterSpace, rate: float = 0.05
) -> Hyperparameters:
    """Vary each locus with probability ``rate``.

    A number is multiplied by one of four factors, equally likely: ``1 - U(0, .01)``, ``1 + U(0, .01)``,
    ``1 + U(.1, .2)``, ``1 - U(.1, .2)``, and clipped; a category is drawn anew.
    """
    hits = rng.random(len(space.loci)) < rate
    return _varied(genome, space, [_four_way if hit else None for hit in hits], rng)


def perturb(
    genome: Hyperparameters,
    rng: np.random.Generator,
    space: HyperparameterSpace,
    resample: float = 0.25,
    factors: Sequence[float] = (0.8, 1.2),
) -> Hyperparameters:
    """Explore as population-based training does (Jaderberg et al. 2017).

    Args:
        genome: Where to start.
        rng: Source of randomness.
        space: Its loci.
        resample: Probability with which a locus is drawn anew; otherwise a number is multiplied by one of
            the factors, and a category moves to a neighbour.
        factors: Equally likely.
    """

    def move(locus: Locus, value: Value, rng: np.random.Generator) -> Value:
        if isinstance(locus, CategoricalLocus):
            index = locus.choices.index(value) + int(rng.choice([-1, 1]))
            return locus.choices[min(max(index, 0), len(locus.choices) - 1)]
        return float(value) * float(rng.choice(factors))

    hits = rng.random(len(space.loci)) < resample
    return _varied(genome, space, [_redraw if hit else move for hit in hits], rng)


def initial_population(
    space: HyperparameterSpace, size: int, rng: np.random.Generator, mutations: int = 3
) -> list[Hyperparameters]:
    """The defaults, and mutants of them.

    Args:
        space: The loci.
        size: Number of genomes.
        rng: Source of randomness.
        mutations: How often every locus of a mutant is mutated.
    """
    genomes = [space.default()]
    for _ in range(size - 1):
        mutant = space.default()
        for _ in range(mutations):
            mutant = mutate(mutant, rng, space, rate=1.0)
        genomes.append(mutant)
    return genomes[:size]


def random_population(
    space: HyperparameterSpace, size: int, rng: np.random.Generator
) -> list[Hyperparameters]:
    """The defaults, and genomes drawn from the space."""
    return [space.default(), *(space.draw(rng) for _ in range(size - 1))][:size]


def _four_way(locus: Locus, value: Value, rng: np.random.Generator) -> Value:
    if isinstance(locus, CategoricalLocus):
        return locus.draw(rng)
    way = int(rng.integers(4))
    size = rng.uniform(0.0, 0.01) if way < 2 else rng.uniform(0.1, 0.2)
    return float(value) * (1 + size if way % 2 else 1 - size)


def _redraw(locus: Locus, value: Value, rng: np.random.Generator) -> Value:
    return locus.draw(rng)


def _varied(
    genome: Hyperparameters, space: HyperparameterSpace, ways: Sequence[Way | None], rng: np.random.Generator
) -> Hyperparameters:
    genotype: list[tuple[str, Value]] = []
    for locus, (name, value), way in zip(space.loci, genome.genotype, ways, strict=True):
        if way is not None:
            value = way(locus, value, rng)
            value = locus.clip(float(value)) if isinstance(locus, NumberLocus) else value
        genotype.append((name, value))
    return Hyperparameters(tuple(genotype), genome.integers)


def gaussian_fitness(
    foms: Sequence[float], sigma: float = 10.0, winsorise: float = 0.0
) -> NDArray[np.float64]:
    """Fitness ``exp(-sigma * ((fom - min) / (max - min))**2)`` of each figure of merit.

    Vose et al. (2019), with the square and the sigma of their released library. All are equally fit if the
    best equals the worst. A figure that is not finite, of a member that failed, has fitness 0 and does not
    count for min and max.

    Args:
        foms: Figures of merit ``[n]``, lower is better.
        sigma: Selection pressure; 10 is that of the released library (crayai 0.4.0), the paper prints none.
        winsorise: This share of them, the worst, counts as the worst of the others, so that an outlier does
            not make all others equally fit; 0 for the published fitness, else at least one of three.
    """
    values = np.asarray(foms, np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(len(values))
    ranked = np.sort(values[finite])
    outliers = min(max(1, int(winsorise * len(ranked))), len(ranked) - 2) if winsorise > 0 else 0
    low, high = ranked[0], ranked[len(ranked) - 1 - max(0, outliers)]
    if high == low:
        return np.where(finite & (values <= high), 1.0, math.exp(-sigma) * finite)
    scaled = (np.clip(np.where(finite, values, high), low, high) - low) / (high - low)
    return np.where(finite, np.exp(-sigma * scaled**2), 0.0)
