"""The configuration of a GADAM run (genetic-evolutionary Adam)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from evoopt.config.sections import LimitsSection, RunConfig, TrainingSection, limit_options
from evoopt.errors import EvooptError


class GadamSection(LimitsSection):
    """Population, operators and stopping of GADAM; the paper's symbols in brackets."""

    population: int = Field(10, ge=1, description="unit models [g]")
    generations: int = Field(5, ge=1, description="most generations [K]")
    seed: int = Field(42, ge=0, description="root of all randomness of the run")
    mutation_rate: float = Field(0.01, ge=0, le=1, description="base mutation rate [p]")
    mutation: Literal["uniform", "gaussian", "additive"] = Field(
        "gaussian",
        description="a mutated scalar is U(0,1), as published; N(0, std of its tensor); or moved by that",
    )
    crossover: bool = Field(True, description="off: a child is a copy of its fitter parent")
    children: Literal["crossover", "reinitialised"] = Field(
        "crossover", description="reinitialised: fresh random children, a control"
    )
    initial: Literal["default", "normal"] = Field(
        "default", description="the model's own initialisation, or N(0,1) for every weight"
    )
    moments: Literal["reset", "inherit"] = Field(
        "reset",
        description="Adam's moments at the start of a phase: zero, or the parents' with their weights",
    )
    validation: Literal["held_out", "train"] = Field(
        "held_out", description="batches that select come from a held-out part, or as published from T"
    )
    keep_untrained: bool = Field(
        True,
        description="survivors may be parents as they were before training: the best never gets worse",
    )
    validation_size: int = Field(1000, ge=1, description="examples of a validation batch [V]")
    theta: float = Field(
        0.0, ge=0, description="stop when the population's loss changes by no more; 0: never"
    )
    lr: float = Field(1e-3, gt=0, description="Adam's learning rate")
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)


class GadamConfig(RunConfig):
    """A population of models trained by Adam and evolved between phases of training."""

    options: ClassVar[Mapping[str, str]] = {
        "population": "gadam.population",
        "generations": "gadam.generations",
        "seed": "gadam.seed",
        **limit_options("gadam"),
        "steps": "training.steps",
        "engine": "training.engine",
    }

    individual: Literal["gadam"] = "gadam"
    gadam: GadamSection = GadamSection()
    training: TrainingSection = TrainingSection()

    @property
    def settled(self) -> tuple[str, ...]:
        """See `RunConfig.settled`; models live on, and what they were trained on must not validate them."""
        return (*super().settled, "gadam.population", "training.train_size", "training.validation_fraction")

    def cross_check(self, source: str) -> None:
        """Check settings against each other."""
        gadam = self.gadam
        if gadam.population == 1 and (gadam.mutation_rate > 0 or gadam.crossover):
            raise EvooptError(
                f"{source}: gadam.population 1 has no two parents; use 2 or more, or set "
                "gadam.mutation_rate = 0 and gadam.crossover = false"
            )
        if gadam.validation == "held_out" and self.training.validation_fraction == 0:
            raise EvooptError(
                f"{source}: gadam.validation 'held_out' needs training.validation_fraction above 0"
            )
