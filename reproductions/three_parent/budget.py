"""What is searched for on what, for how long: the experiments of Vose et al. (2019) at two scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from evoopt.config import load_space
from evoopt.systems.hyperparameters.config import PbtConfig, RecombinationConfig

Measure = Literal["error", "perplexity", "steps", "seconds"]


@dataclass(frozen=True)
class Budget:
    """How much a search may spend, and how its result is repeated.

    Attributes:
        population: Members.
        generations: Generations.
        steps: Optimizer steps per generation, None for an epoch; for LeNet the most steps of a training.
        seeds: Searches with each method, with seeds from 0.
        replays: Trainings from scratch with what a search has found, on fresh seeds.
        train_size: Training and validation examples, None for all.
        target: Accuracy to reach (LeNet).
        every: Steps between two looks at the accuracy (LeNet).
        narrower: What the widths of the network's layers, and their bounds, are divided by.
    """

    population: int
    generations: int
    steps: int | None = None
    seeds: int = 3
    replays: int = 5
    train_size: int | None = None
    target: float | None = None
    every: int = 100
    narrower: int = 1


@dataclass(frozen=True)
class Part:
    """An experiment.

    Attributes:
        space: Shipped search space.
        title: For the report.
        measure: What results are judged by, on test data.
        small: The budget that fits a laptop.
        paper: The published one, as far as it is given.
        widths: Hyperparameters that are widths of layers.
        limit: Most seconds of a training at the published widths, where seconds are the figure of merit;
            narrower networks have less by the square, as a layer's work has.
        task: Another task than the space's: one of made-up data.
    """

    space: str
    title: str
    measure: Measure
    small: Budget
    paper: Budget
    widths: tuple[str, ...] = ()
    limit: float | None = None
    task: str | None = None

    @property
    def config(self) -> RecombinationConfig:
        """Settings of the search space."""
        config = load_space(self.space)
        assert isinstance(config, RecombinationConfig)
        return config

    @property
    def schedules(self) -> bool:
        """Whether what evolves are schedules (PBT), not hyperparameters of trainings."""
        return isinstance(self.config, PbtConfig)


PARTS: Mapping[str, Part] = {
    "digits": Part(
        "pbt-digits", "scikit-learn's digits, small CNN: PBT of lr, beta1 and weight decay", "error",
        Budget(20, 20, seeds=10), Budget(100, 60, seeds=10, replays=10),
    ),
    "lenet": Part(
        "hpo-lenet", "LeNet on MNIST: seven hyperparameters, topology included", "steps",
        Budget(6, 3, 1200, seeds=5, train_size=4000, target=0.85, every=25, narrower=16),
        Budget(100, 250, 2000, replays=10, target=0.986),
        ("filters.0", "filters.1", "dense"),
    ),
    "lenet_seconds": Part(
        "hpo-lenet", "LeNet on MNIST by seconds, as published: on a machine that does nothing else",
        "seconds",
        Budget(6, 3, 1200, seeds=5, train_size=4000, target=0.85, every=25, narrower=16),
        Budget(100, 250, 2000, replays=10, target=0.986),
        ("filters.0", "filters.1", "dense"), limit=2400.0,
    ),
    "p3b1_stand_in": Part(
        "hpo-p3b1", "P3B1's network on made-up reports: six hyperparameters, steps to 60 % of each F1",
        "steps",
        Budget(6, 3, 600, seeds=5, target=0.6, every=25, narrower=16),
        Budget(100, 250, 2000, replays=10, target=0.6),
        ("shared", "heads.0", "heads.1", "heads.2"), task="p3b1_stand_in",
    ),
    "rpv_stand_in": Part(
        "hpo-rpv", "RPV's network on made-up images: ten hyperparameters, the optimizer among them", "error",
        Budget(6, 3, 60, seeds=5, narrower=4), Budget(100, 250, 8000, replays=3),
        ("filters.0", "filters.1", "filters.2", "dense"), task="rpv_stand_in",
    ),
    "nmt": Part(
        "pbt-nmt", "Vietnamese to English, GRUs with attention: PBT of lr and dropout", "perplexity",
        Budget(8, 10), Budget(100, 30, replays=10),
    ),
    "resnet20": Part(
        "pbt-resnet20", "ResNet-20 on CIFAR-10: PBT of lr and weight decay", "error",
        Budget(8, 8, 100, replays=3, train_size=15_000), Budget(100, 200, replays=10),
    ),
    "capsnet": Part(
        "pbt-capsnet", "Capsule network on CIFAR-10: PBT of q, routings, lr and weight decay", "error",
        Budget(8, 8, 60, replays=3, train_size=15_000), Budget(100, 50, replays=10),
    ),
}  # fmt: skip
"""Experiments by name."""

DEFAULT_PARTS = ("digits", "lenet")
PAPER_PARTS = ("lenet", "nmt", "resnet20", "capsnet")
