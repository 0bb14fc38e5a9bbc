"""From settings to the parts of a run over hyperparameters."""

from __future__ import annotations

from evoopt.config.recombination import RecombinationSection, RecombinationTraining
from evoopt.errors import EvooptError
from evoopt.evolution.breeding import (
    Breeder,
    RandomSearch,
    ThreeParent,
    Truncation,
    recombination_toolbox,
)
from evoopt.evolution.demes import Demes
from evoopt.evolution.generations import Generations
from evoopt.evolution.trial import TrialPlan
from evoopt.genomes.hyperparameters import HyperparameterSpace


def make_breeder(section: RecombinationSection, space: HyperparameterSpace) -> Breeder:
    """The scheme that the settings name."""
    if section.scheme == "truncation":
        return Truncation(space, section.quantile, section.resample, section.factors)
    if section.scheme == "random":
        return RandomSearch(space, inherit=section.mode == "pbt")
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


def trial_plan(section: RecombinationSection, training: RecombinationTraining) -> TrialPlan:
    """How trials are trained and judged, in mode ``hpo``.

    Raises:
        EvooptError: No number of steps.
    """
    if training.steps is None:
        raise EvooptError("mode 'hpo' needs training.steps, the most steps of a training")
    return TrialPlan(
        section.fom,
        training.steps,
        training.batch_size or 0,
        section.target,
        section.every,
        section.optimizer,
        training.engine,
    )


def make_generations(
    section: RecombinationSection, space: HyperparameterSpace, breeder: Breeder | None = None
) -> Generations:
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
    return Generations(
        breeder or make_breeder(section, space),
        section.population,
        section.seed,
        demes,
        inherit=section.mode == "pbt",
    )
