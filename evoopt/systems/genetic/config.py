"""The configuration of a genetic training of weights (GACNN, the Accordion chromosome)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from evoopt.config.sections import LimitsSection, OneOf, RunConfig, WorkSection, limit_options
from evoopt.evolution.selection import SELECTIONS, tournament
from evoopt.systems.genetic.succession import SCHEMES, Scheme, make_scheme

MEANING = {"accuracy": "accuracy", "cross_entropy": "likelihood exp(-cross-entropy)"}
"""What a fitness is, by its name."""


class GeneticSection(LimitsSection):
    """Population, encoding, operators and scheme."""

    population: int = Field(100, ge=2, description="networks")
    generations: int = Field(100, ge=1, description="generations, the first of random networks included")
    seed: int = Field(42, ge=0, description="root of all randomness of the run")
    encoding: Literal["accordion", "traditional"] = Field(
        "accordion", description="a gene is a filter or a neuron's ingoing weights; or a scalar"
    )
    scheme: Annotated[str, OneOf(SCHEMES)] = Field(
        "elitist", description="how one generation follows another"
    )
    selection: Annotated[str, OneOf(SELECTIONS)] = Field(
        "scan", description="how parents are chosen; scan is the published one"
    )
    tournament: int = Field(5, ge=1, description="networks per tournament, for selection by it")
    p_mutate: float = Field(
        0.2, ge=0, le=1, description="probability that a child is mutated (not in a steady state)"
    )
    p_mate: float = Field(
        0.7, ge=0, le=1, description="steady state: probability that a child has two parents, or is a mutant"
    )
    elites: float = Field(0.1, ge=0, le=1, description="elitist: share that lives on unchanged")
    pool: float = Field(0.2, ge=0, le=1, description="elitist: size of the pool of parents, as a share")
    replace_if_better: bool = Field(
        False, description="steady state: the worst stays unless the child is better"
    )
    mutation_ratio: float = Field(0.1, ge=0, le=1, description="share of each section's genes that change")
    mutation_sigma: float = Field(0.5, ge=0, description="noise on a convolution's weights")
    mutation_per_weight: bool = Field(
        False, description="noise on a linear layer is drawn for each weight, not once for each gene"
    )
    mutation_matched: bool = Field(
        False, description="scale the noise so that both encodings change weights by as much"
    )
    fitness: Literal["accuracy", "cross_entropy"] = Field(
        "accuracy", description="what is maximised; cross_entropy: the likelihood exp(-cross-entropy)"
    )
    head_start: int = Field(0, ge=0, description="minibatches of Adam for the best network in the end")

    def make_scheme(self) -> Scheme:
        """Who has children with whom, and who survives."""
        select = SELECTIONS[self.selection]
        if self.selection == "tournament":
            select = partial(tournament, tournsize=self.tournament)
        if self.scheme == "steady_state":
            own = {"p_mate": self.p_mate, "replace_if_better": self.replace_if_better}
            return make_scheme(self.scheme, select=select, **own)
        shares = {"elites": self.elites, "pool": self.pool} if self.scheme == "elitist" else {}
        return make_scheme(self.scheme, select=select, p_mutate=self.p_mutate, **shares)


class ScoringSection(WorkSection):
    """What networks are scored on; nothing is chosen by what is held out."""

    task: str = Field("genetic_digits", description="task name, or file.py:function")
    examples: int | None = Field(
        None, ge=1, description="size of the fixed set of training examples; all by default"
    )


class GeneticConfig(RunConfig):
    """A population of networks whose weights evolve without gradients."""

    options: ClassVar[Mapping[str, str]] = {
        "population": "genetic.population",
        "generations": "genetic.generations",
        "seed": "genetic.seed",
        **limit_options("genetic"),
    }
    tasks_setting = "scoring.task"

    individual: Literal["genetic"] = "genetic"
    genetic: GeneticSection = GeneticSection()
    scoring: ScoringSection = ScoringSection()

    @property
    def settled(self) -> tuple[str, ...]:
        """See `RunConfig.settled`; networks live on, with a fitness of which there is one kind."""
        parts = ("scoring.train_size", "scoring.validation_fraction")
        return (*super().settled, "genetic.population", "genetic.fitness", *parts)
