"""Ways to train a network's weights that a reproduction of GACNN compares, and what each may spend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import torch

from evoopt.evolution.selection import scan, tournament
from evoopt.systems.genetic.chromosome import EncodingName
from evoopt.systems.genetic.succession import Scheme, SteadyState, make_scheme
from evoopt.systems.genetic.weight_operators import Mutation
from evoopt.training.head_start import KERAS_ADAM, MakeOptimizer


@dataclass(frozen=True)
class Budget:
    """What each method may spend on a task.

    Attributes:
        population: Networks.
        generations: Generations, the first of random networks included; a steady state has as many children.
        examples: Size of the fixed set of training examples that everyone learns from, None for all.
        steps: Minibatches of 32 for Adam and SGD.
        seeds: Repetitions.
    """

    population: int
    generations: int
    examples: int | None
    steps: int
    seeds: int


@dataclass(frozen=True)
class Variant:
    """A genetic training; the defaults are as published.

    Attributes:
        scheme: Name of the scheme.
        encoding: What a gene is.
        mutation: Ratio and strength.
        fitness: What is maximised.
        tournsize: Networks per tournament; None selects by scan.
        p_mutate: Probability that a child is mutated; a steady state has its own.
        head_start: Whether Adam then goes on from the fittest network.
    """

    scheme: str
    encoding: EncodingName = "accordion"
    mutation: Mutation = field(default_factory=Mutation)
    fitness: str = "accuracy"
    tournsize: int | None = None
    p_mutate: float = 0.2
    head_start: bool = False

    def make_scheme(self) -> Scheme:
        """Who is mated and who survives."""
        select = scan if self.tournsize is None else partial(tournament, tournsize=self.tournsize)
        if self.scheme == "steady_state":
            return _OneChild(select)
        return make_scheme(self.scheme, select=select, p_mutate=self.p_mutate)


class _OneChild(SteadyState):
    """A generation is one child, which is what the publication's figures call an iteration."""

    def broods(self, size: int) -> int:
        return 1


_MATCHED = Mutation(per_weight=True, matched=True)
_ROBUST = partial(
    Variant, "elitist", mutation=Mutation(0.05, 0.2, per_weight=True), fitness="cross_entropy", tournsize=5,
    p_mutate=1.0,
)  # fmt: skip

VARIANTS: Mapping[str, Variant] = {
    "steady_state": Variant("steady_state"),
    "steady_state_traditional": Variant("steady_state", "traditional"),
    "generational": Variant("generational"),
    "generational_traditional": Variant("generational", "traditional"),
    "elitist": Variant("elitist", head_start=True),
    "elitist_traditional": Variant("elitist", "traditional"),
    "elitist_matched": Variant("elitist", mutation=_MATCHED),
    "elitist_traditional_matched": Variant("elitist", "traditional", mutation=_MATCHED),
    "robust": _ROBUST(head_start=True),
    "robust_traditional": _ROBUST(encoding="traditional"),
}
"""Genetic trainings by row of the table."""

OPTIMIZERS: Mapping[str, MakeOptimizer] = {"adam": KERAS_ADAM, "sgd": partial(torch.optim.SGD, lr=0.01)}
"""Gradient trainings by row, with the settings of Keras: the publication names none."""

METHODS = (*VARIANTS, *OPTIMIZERS)
"""All that is done; ``elitist`` and ``robust`` also give the rows ``elitist_adam`` and ``robust_adam``."""

BUDGETS: Mapping[str, Budget] = {
    "genetic_mnist": Budget(population=30, generations=20, examples=1000, steps=800, seeds=2),
    "genetic_digits": Budget(population=50, generations=60, examples=None, steps=2000, seeds=3),
    "genetic_cifar10": Budget(population=30, generations=20, examples=1000, steps=800, seeds=2),
}
"""A small budget for each task; about eight minutes on two cores without the last."""

PAPER_BUDGETS: Mapping[str, Budget] = {
    "genetic_mnist": Budget(population=100, generations=200, examples=None, steps=18_750, seeds=5),
    "genetic_digits": Budget(population=100, generations=200, examples=None, steps=4_000, seeds=5),
    "genetic_cifar10": Budget(population=100, generations=200, examples=None, steps=15_625, seeds=5),
}
"""The published population and data; generations, ten epochs of minibatches and seeds are not given there."""
