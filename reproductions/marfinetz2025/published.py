"""The comparison of Marfinetz (2025), arXiv 2512.11853: its contenders, its numbers, and how it was made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evoopt.compare.training_queue import Training, TrainingQueue
from evoopt.execution import Place
from evoopt.jobs.records import Evaluation
from evoopt.jobs.rule_worker import WorkerSetup, make_worker
from evoopt.optim.presets import PRESETS
from evoopt.optim.rule import UpdateRule
from evoopt.systems.optimizer.literal import PUBLISHED_SEEDS
from evoopt.systems.optimizer.scores import fitness_values
from evoopt.tasks import DataOptions
from evoopt.training.plan import TrainingPlan, TrainingResult

STEPS, SEEDS, TRAIN_SIZE = 1000, 3, 15_000
_CUT = ("mnist", "fashion_mnist", "cifar10")  # what the names of tasks on the published data begin with
EVOLVED = "Evolved"

RULES: Mapping[str, UpdateRule] = {
    **dict(zip(("SGD", "Adam", "AdamW", "RMSProp"), (g.rule() for g in PUBLISHED_SEEDS), strict=True)),
    EVOLVED: PRESETS["marfinetz2025"],
}
"""The five optimizers of the published comparison; the baselines are the seeds of the published search."""

README: Mapping[str, Mapping[str, float]] = {
    "SGD": {"fashion_mnist": 0.8250, "cifar10": 0.4642, "mnist": 0.9896, "overall": 0.7596},
    "RMSProp": {"fashion_mnist": 0.9304, "cifar10": 0.5980, "mnist": 1.0353, "overall": 0.8546},
    "AdamW": {"fashion_mnist": 0.9283, "cifar10": 0.6453, "mnist": 1.0358, "overall": 0.8698},
    "Adam": {"fashion_mnist": 0.9296, "cifar10": 0.6669, "mnist": 1.0360, "overall": 0.8775},
    EVOLVED: {"fashion_mnist": 0.9493, "cifar10": 0.7080, "mnist": 1.0387, "overall": 0.8987},
}
"""Fitness as the README of the published code gives it."""

NOTEBOOK: Mapping[str, Mapping[str, float]] = {
    "SGD": {"fashion_mnist": 0.823445, "cifar10": 0.473933, "mnist": 0.987676, "overall": 0.761685},
    "RMSProp": {"fashion_mnist": 0.928933, "cifar10": 0.063933, "mnist": 1.035246, "overall": 0.676037},
    "AdamW": {"fashion_mnist": 0.930636, "cifar10": 0.649700, "mnist": 1.035559, "overall": 0.871965},
    "Adam": {"fashion_mnist": 0.931275, "cifar10": 0.639600, "mnist": 1.034705, "overall": 0.868526},
    EVOLVED: {"fashion_mnist": 0.950789, "cifar10": 0.703457, "mnist": 1.039527, "overall": 0.897925},
}
"""The same as the published notebook's output shows it: another run of the same protocol."""

CLAIMS = (
    "the paper's abstract claims +2.6% over Adam overall and +7.7% on CIFAR-10, which neither table shows"
)


@dataclass(frozen=True)
class LiteralScore:
    """One optimizer on one task by the published protocol.

    Attributes:
        fitness: Test accuracy + 0.05*max(0, 1 - training loss of the last 50 steps), by seed; -1 for a
            divergence.
        accuracy: Test accuracy by seed; NaN for a divergence.
    """

    fitness: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean fitness over seeds, divergences included as -1, as published."""
        return sum(self.fitness) / len(self.fitness)


LiteralScores = dict[str, dict[str, LiteralScore]]
"""By task, then by optimizer."""


def train_literally(
    tasks: Sequence[str],
    steps: int = STEPS,
    seeds: int = SEEDS,
    place: Place | None = None,
    memory: Path | None = None,
) -> LiteralScores:
    """Repeat the published comparison: 1000 steps, seeds 0, 1, 2, no tuning, scored on test data.

    Image sets are cut to 15,000 training images, all of them trained on; an epoch's incomplete last minibatch
    counts. Tasks of other data keep all that there are.

    Args:
        tasks: Task names.
        steps: Steps per training.
        seeds: Number of seeds, from 0.
        place: Where to train.
        memory: File that keeps finished trainings.
    """
    place = place or Place()
    scores: LiteralScores = {}
    for task in tasks:
        size = TRAIN_SIZE if task.startswith(_CUT) else None
        data = DataOptions(place.data_dir, size, validation_fraction=0.0, seed=0, unseal_test=True)
        plans = [TrainingPlan(steps, seed, 0, drop_last=False, split="test") for seed in range(seeds)]
        wanted = [Training(task, rule.canonical(), plan) for rule in RULES.values() for plan in plans]
        setup = WorkerSetup((task,), data, place.device)
        where = [value for name, value in place.rounding.items() if name != "threads"]
        with place.start(make_worker, setup) as executor:
            queue = TrainingQueue(executor, memory=memory, context=["literal", str(size), *where])
            results = queue.train(wanted)
        scores[task] = {
            name: _score(task, results[k * seeds : (k + 1) * seeds]) for k, name in enumerate(RULES)
        }
    return scores


def relative_gain(scores: Mapping[str, LiteralScore]) -> list[float]:
    """Fitness of the evolved optimizer relative to Adam's, seed by seed, as a share of Adam's.

    NaN where one diverged, whose fitness is a penalty and no measure, or where Adam has none.
    """
    ours, theirs = scores[EVOLVED], scores["Adam"]
    sound = np.isfinite(np.add(ours.accuracy, theirs.accuracy)) & (np.array(theirs.fitness) != 0)
    pairs = zip(sound, ours.fitness, theirs.fitness, strict=True)
    return [(own - other) / abs(other) if good else math.nan for good, own, other in pairs]


def _score(task: str, results: Sequence[TrainingResult]) -> LiteralScore:
    rows = [Evaluation(0, 0, k, "", task, k, 0, k, "", result) for k, result in enumerate(results)]
    fitness = tuple(fitness_values("paper", [row], [task])[1] for row in rows)
    return LiteralScore(fitness, tuple(result.metric for result in results))
