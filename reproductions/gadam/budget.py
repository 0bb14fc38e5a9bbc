"""What is trained on what, for how long: the experiments of the GADAM paper at two scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import ClassVar

from evoopt.training.phase import PhaseEngine


@dataclass(frozen=True)
class Budget:
    """How much is spent; the paper's symbols in brackets.

    Attributes:
        population: Unit models [g].
        generations: Generations [K].
        steps: Steps of a training phase [E].
        seeds: Repetitions, with seeds from 0.
        validation_size: Examples of a validation batch of GADAM [V].
        classical: Most examples that a random forest, a support vector machine or a nearest-neighbour search
            gets, None for all.
        trees: Trees of the random forest.
    """

    population: int
    generations: int
    steps: int
    seeds: int = 3
    validation_size: int = 1000
    classical: int | None = None
    trees: int = 500

    @property
    def phases(self) -> int:
        """Training phases of a lineage: parents and children of each generation."""
        return 2 * self.generations

    @property
    def lineage_steps(self) -> int:
        """Most steps that one model and its ancestors get [2KE]."""
        return self.phases * self.steps

    @property
    def all_steps(self) -> int:
        """Steps of the whole population [2gKE]."""
        return self.population * self.lineage_steps


@dataclass(frozen=True)
class Part:
    """A data set of the paper with its network.

    Attributes:
        task: Name of the task.
        title: For the report.
        small: The budget that fits a laptop.
        paper: The published one, as far as it is given.
        validation_fraction: Part of the training examples that chooses and does not train.
        engine: How populations are trained on a CPU.
    """

    task: str
    title: str
    small: Budget
    paper: Budget
    validation_fraction: float = 0.1
    engine: PhaseEngine = "batched"


def _faces(count: int) -> Part:
    title = f"ORL faces, {count} of 10 images a person to train on (table 3)"
    small = Budget(4, 2, 20, seeds=3, validation_size=40)
    # One image of each person at least.
    return Part(f"orl{count}", title, small, Budget(10, 5, 500, seeds=10), 0.2, "sequential")


_TABLE = Budget(6, 3, 400, seeds=5, classical=10_000)
_TABLE_PAPER = Budget(10, 10, 2000, seeds=10)

PARTS: Mapping[str, Part] = {
    "mnist": Part(
        "mnist_lenet5", "MNIST, LeNet-5 (table 1)",
        Budget(6, 3, 40, classical=10_000), Budget(10, 8, 5000), 0.05,
    ),
    **{f"orl{count}": _faces(count) for count in (5, 7, 9)},
    "yeast": Part("yeast", "UCI YEAST, MLP 8-50-30-10 (table 4)", _TABLE, _TABLE_PAPER, 0.2),
    "adult": Part("adult", "UCI ADULT, MLP 108-30-20-2 (table 4)", _TABLE, _TABLE_PAPER),
    "letter": Part("letter", "UCI LETTER, MLP 16-70-50-26 (table 4)", _TABLE, _TABLE_PAPER),
    "digits": Part(
        "digits_cnn", "scikit-learn's digits, small CNN (not in the paper)",
        Budget(6, 3, 40), Budget(10, 5, 200, seeds=10), 0.2,
    ),
}  # fmt: skip
"""Data sets by name."""

FIGURES = "figures"
SUBJECTS = ("gadam_paper", "gadam")
"""Variants that claims and figures are about."""

DEFAULT_PARTS = ("mnist", "orl5", "yeast", "adult", "letter", FIGURES)
PAPER_PARTS = ("mnist", "orl5", "orl7", "orl9", "yeast", "adult", "letter", FIGURES)


@dataclass(frozen=True, kw_only=True)
class FiguresBudget(Budget):
    """What figures 3 to 6 are drawn from; the inherited numbers are those of figures 3 and 5.

    Attributes:
        part: Data set and network.
        populations: Population sizes of figures 4 and 5.
        sweep_generations: Generations of that sweep.
        timed_part: Data set and network of figure 6.
        timed: Population and steps of the generation that is timed.
        workers: Numbers of workers it is timed with.
    """

    fixed: ClassVar[tuple[str, ...]] = ("population", "generations")

    part: str
    populations: tuple[int, ...]
    sweep_generations: int
    timed_part: str
    timed: Budget
    workers: tuple[int, ...]

    def of_run(self, **changes: int) -> Budget:
        """The budget of one of the runs."""
        return Budget(**{**{own.name: getattr(self, own.name) for own in fields(Budget)}, **changes})


SMALL_FIGURES = FiguresBudget(
    10, 10, 30, part="digits", populations=(2, 4, 6, 8, 12, 16, 20), sweep_generations=3,
    timed_part="mnist", timed=Budget(10, 1, 15), workers=(1, 2),
)  # fmt: skip
PAPER_FIGURES = FiguresBudget(
    10, 10, 5000, part="mnist", populations=tuple(range(2, 21, 2)), sweep_generations=5,
    timed_part="mnist", timed=Budget(10, 1, 5000), workers=(1, 2, 4, 8, 10),
)  # fmt: skip
FIGURE_PARTS: Mapping[str, str] = {FIGURES: "digits", "figures_lenet5": "mnist"}
"""What may be asked for, and the data set and network of its small budget."""


def budget_of(part: str, paper: bool) -> Budget:
    """The small or the published budget of a part or of the figures."""
    if part in FIGURE_PARTS:
        return PAPER_FIGURES if paper else replace(SMALL_FIGURES, part=FIGURE_PARTS[part])
    return PARTS[part].paper if paper else PARTS[part].small
