"""From settings to the parts of a run over hyperparameters."""

from __future__ import annotations

from evoopt.evolution.demes import Demes
from evoopt.systems.hyperparameters.breeding import (
    Breeder,
    RandomSearch,
    ThreeParent,
    Truncation,
    recombination_toolbox,
)
from evoopt.systems.hyperparameters.config import RecombinationSection
from evoopt.systems.hyperparameters.generations import HyperparameterGenerations
from evoopt.systems.hyperparameters.hyperparameter_space import HyperparameterSpace


def make_breeder(section: RecombinationSection, space: HyperparameterSpace) -> Breeder:
    """The scheme that the settings name."""
    if section.scheme == "truncation":
        return Truncation(space, section.quantile, section.resample, section.factors)
    if section.scheme == "random":
        return RandomSearch(space, inherit=section.inherits)
    toolbox = recombination_toolbox(
        space,
        crossover_rate=section.crossover_rate,
        run_length=section.crossover == "run_length",
        mutation_rate=section.mutation_rate,
        initial_mutations=section.initial_mutations if section.initial == "mutants" else None,
        sigma=section.sigma,
        winsorise=section.winsorise,
    )
    return ThreeParent(toolbox, both=section.recombinants == "both")


def make_generations(
    section: RecombinationSection, space: HyperparameterSpace, breeder: Breeder | None = None
) -> HyperparameterGenerations:
    """The first generation.

    Args:
        section: Sizes, scheme and demes.
        space: Hyperparameters.
        breeder: A scheme of one's own.

    Raises:
        EvooptError: Settings that do not fit each other.
    """
    section.check()
    demes = Demes(section.demes, section.topology, section.migration_interval, section.migrants)
    return HyperparameterGenerations(
        breeder or make_breeder(section, space),
        section.population,
        section.seed,
        demes,
        inherit=section.inherits,
    )
