"""How the next generation's hyperparameters are made, and whose weights each child takes: three schemes.

A breeder is a frozen record with pure functions; `generations` keeps the population.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from deap import base

from evoopt.evolution.selection import choose_proportional
from evoopt.systems.hyperparameters import hyperparameter_operators as recombination
from evoopt.systems.hyperparameters.hyperparameter_space import Hyperparameters, HyperparameterSpace

if TYPE_CHECKING:
    from evoopt.systems.hyperparameters.config import RecombinationSection


@dataclass(frozen=True)
class Parent:
    """A member of a generation that has been scored.

    Attributes:
        position: Its place in the generation.
        genome: Its hyperparameters.
        fom: Figure of merit, lower is better; NaN if it failed and has no usable weights.
        litter: Number it shares with its sibling.
    """

    position: int
    genome: Hyperparameters
    fom: float
    litter: int = -1

    @property
    def fitness(self) -> float:
        """What `deap.tools` compare: higher is better, and a failure is worst."""
        return -self.fom if math.isfinite(self.fom) else -math.inf


@dataclass(frozen=True)
class Birth:
    """A child to be.

    Attributes:
        genome: Its hyperparameters.
        parents: Positions of a and b, whose hyperparameters it has, and of alpha, whose weights it takes;
            empty for a newcomer.
        operations: What was done, e.g. ``"b:lr mutate:q"`` (lr is b's, q was mutated).
        sibling: Whether it is the other recombinant of the birth before it.
    """

    genome: Hyperparameters
    parents: tuple[int, ...]
    operations: str
    sibling: bool = False


class Breeder(Protocol):
    """A scheme."""

    def first(self, size: int, rng: np.random.Generator) -> list[Hyperparameters]:
        """Genomes of the first generation; the first one has the defaults."""

    def breed(self, pool: Sequence[Parent], size: int, rng: np.random.Generator) -> list[Birth]:
        """Make the generation that follows ``pool``, in which at least one has not failed."""


def recombination_toolbox(space: HyperparameterSpace, section: RecombinationSection) -> base.Toolbox:
    """Register what `ThreeParent` does: ``initial``, ``fitness``, ``select``, ``mate`` and ``mutate``."""
    toolbox = base.Toolbox()
    if section.initial == "random":
        toolbox.register("initial", recombination.random_population, space)
    else:
        mutations = section.initial_mutations
        toolbox.register("initial", recombination.initial_population, space, mutations=mutations)
    fitness = recombination.gaussian_fitness
    toolbox.register("fitness", fitness, sigma=section.sigma, winsorise=section.winsorise)
    toolbox.register("select", choose_proportional)
    run_length = section.crossover == "run_length"
    toolbox.register("mate", recombination.crossover, rate=section.crossover_rate, run_length=run_length)
    toolbox.register("mutate", recombination.mutate, space=space, rate=section.mutation_rate)
    return toolbox


@dataclass(frozen=True)
class ThreeParent:
    """Parents a, b and alpha, each drawn in proportion to fitness (Vose et al. 2019, figure 3).

    A child has hyperparameters of a and b and the weights of alpha. All are replaced by their children.

    Attributes:
        toolbox: See `recombination_toolbox`.
        both: Whether both recombinants of a crossover are born, with the same alpha, and only the fitter of
            the two may become a parent (viability selection); otherwise one of them, at random.
    """

    toolbox: base.Toolbox
    both: bool = False

    def first(self, size: int, rng: np.random.Generator) -> list[Hyperparameters]:
        """The defaults, and mutants of them or random genomes."""
        genomes: list[Hyperparameters] = self.toolbox.initial(size, rng)
        return genomes

    def breed(self, pool: Sequence[Parent], size: int, rng: np.random.Generator) -> list[Birth]:
        """Cross and mutate."""
        parents = _viable(pool) if self.both else list(pool)
        fitness = self.toolbox.fitness([parent.fom for parent in parents])
        births: list[Birth] = []
        while len(births) < size:
            a, b, alpha = (parents[self.toolbox.select(fitness, rng)] for _ in range(3))
            first, second, swapped = self.toolbox.mate(a.genome, b.genome, rng)
            recombinants = [(first, swapped), (second, [not s for s in swapped])]
            if not self.both:
                recombinants = [recombinants[int(rng.integers(2))]]
            for k, (crossed, from_b) in enumerate(recombinants):
                child = self.toolbox.mutate(crossed, rng)
                operations = _operations(crossed, child, from_b)
                births.append(
                    Birth(child, (a.position, b.position, alpha.position), operations, sibling=k > 0)
                )
        return births[:size]


@dataclass(frozen=True)
class Truncation:
    """Exploit and explore of population-based training (Jaderberg et al. 2017), as in Ray Tune.

    Whoever is among the worst takes weights and hyperparameters of one of the best, and perturbs the latter;
    all others go on.

    Attributes:
        space: The loci.
        quantile: Share of the population that counts as best, and as worst.
        resample: Probability with which a hyperparameter is drawn anew instead of multiplied.
        factors: What it is multiplied by, equally likely.
    """

    space: HyperparameterSpace
    quantile: float = 0.25
    resample: float = 0.25
    factors: tuple[float, ...] = (0.8, 1.2)

    def first(self, size: int, rng: np.random.Generator) -> list[Hyperparameters]:
        """The defaults, and random genomes."""
        return recombination.random_population(self.space, size, rng)

    def breed(self, pool: Sequence[Parent], size: int, rng: np.random.Generator) -> list[Birth]:
        """Replace the worst; ``size`` must be that of the pool."""
        assert size == len(pool), "members keep their places"
        ranked = sorted(pool, key=lambda parent: parent.fitness, reverse=True)
        count = math.ceil(size * self.quantile)
        count = count if count <= size / 2 else size // 2
        sound = [parent for parent in ranked if math.isfinite(parent.fom)]
        best = sound[: max(1, count)] or ranked[:1]
        worst = {parent.position for parent in ranked[size - count :]}
        births = []
        for parent in pool:
            if math.isfinite(parent.fom) and parent.position not in worst:
                births.append(Birth(parent.genome, (parent.position,) * 3, "continue"))
                continue
            donor = best[int(rng.integers(len(best)))]
            genome = recombination.perturb(donor.genome, rng, self.space, self.resample, self.factors)
            births.append(Birth(genome, (donor.position,) * 3, "exploit+explore"))
        return births


@dataclass(frozen=True)
class RandomSearch:
    """Random hyperparameters: the control that costs as much.

    Attributes:
        space: The loci.
        inherit: Whether members go on with the hyperparameters they have (when weights are inherited);
            otherwise every generation is drawn anew.
    """

    space: HyperparameterSpace
    inherit: bool

    def first(self, size: int, rng: np.random.Generator) -> list[Hyperparameters]:
        """The defaults, and random genomes."""
        return recombination.random_population(self.space, size, rng)

    def breed(self, pool: Sequence[Parent], size: int, rng: np.random.Generator) -> list[Birth]:
        """Go on, or draw."""
        if self.inherit:
            return [Birth(parent.genome, (parent.position,) * 3, "continue") for parent in pool]
        return [Birth(self.space.draw(rng), (), "random") for _ in range(size)]


SCHEMES: dict[str, Callable[[RecombinationSection, HyperparameterSpace], Breeder]] = {
    "three_parent": lambda section, space: ThreeParent(
        recombination_toolbox(space, section), both=section.recombinants == "both"
    ),
    "truncation": lambda section, space: Truncation(
        space, section.quantile, section.resample, section.factors
    ),
    "random": lambda section, space: RandomSearch(space, section.inherits),
}
"""Makes the scheme of each name."""


def _viable(pool: Sequence[Parent]) -> list[Parent]:
    """The fitter one of every litter."""
    fittest: dict[int, Parent] = {}
    for parent in pool:
        rival = fittest.get(parent.litter)
        if rival is None or parent.fitness > rival.fitness:
            fittest[parent.litter] = parent
    return list(fittest.values())


def _operations(crossed: Hyperparameters, child: Hyperparameters, from_b: Sequence[bool]) -> str:
    names = [name for name, _ in child.genotype]
    mutated = [name for name in names if dict(child.genotype)[name] != dict(crossed.genotype)[name]]
    taken = [name for name, is_b in zip(names, from_b, strict=True) if is_b]
    parts = [f"b:{','.join(taken)}"] * bool(taken) + [f"mutate:{','.join(mutated)}"] * bool(mutated)
    return " ".join(parts) or "copy"
