"""What one training is asked to do, and what it reports: the records every training engine shares."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

CURVE_PARTS = 20
"""Most parts of a training that a curve has."""

Outcome = Literal["ok", "diverged", "failed", "stopped"]
"""``ok``; ``diverged``: the loss became NaN, infinite or larger than the limit; ``failed``: an exception
or a lost worker; ``stopped``: ended early on purpose (successive halving, or rejected before training)."""


@dataclass(frozen=True)
class TrainingPlan:
    """One training run per rule, all from the same seed.

    Attributes:
        steps: Number of optimizer steps.
        seed: Decides initial weights, minibatches, augmentation and dropout, so that rules trained with
            the same seed meet the same random numbers.
        batch_size: Minibatch size.
        drop_last: Whether an incomplete last minibatch of an epoch is left out.
        split: What the final score is measured on; ``"test"`` needs unsealed data.
        max_loss: A batch loss above this counts as divergence.
        window: ``train_loss`` is the mean batch loss over this many last steps.
        schedule_steps: Length of the rules' schedule; None means ``steps``.
        halve_at: Part of the steps, in (0, 1), after which the worse half of the members trained together
            stops (see `evoopt.training.halving`); None trains all to the end.
    """

    steps: int
    seed: int
    batch_size: int
    drop_last: bool = True
    split: Literal["validation", "test"] = "validation"
    max_loss: float = 50.0
    window: int = 50
    schedule_steps: int | None = None
    halve_at: float | None = None

    @property
    def total_steps(self) -> int:
        """Length of the rules' schedule."""
        return self.steps if self.schedule_steps is None else self.schedule_steps

    @property
    def rung(self) -> int | None:
        """Number of steps after which the worse half stops, None for never."""
        return None if self.halve_at is None else min(self.steps, max(1, round(self.halve_at * self.steps)))


@dataclass(frozen=True)
class PhasePlan:
    """What a phase does: some steps of members whose weights and moments live on.

    Attributes:
        steps: Optimizer steps.
        batch_size: Minibatch size.
        seeds: One seed, from which all members see the same minibatches, augmentations and dropout numbers;
            or one per member.
        drop_last: Whether an epoch's incomplete last minibatch is left out.
        total_steps: Length of the rules' schedule, ``steps`` by default.
        keep_moments: Whether the moments live on after the phase; otherwise they are zero then.
    """

    steps: int
    batch_size: int
    seeds: tuple[int, ...]
    drop_last: bool = True
    total_steps: int | None = None
    keep_moments: bool = True

    @property
    def shared(self) -> bool:
        """Whether all members see the same data."""
        return len(self.seeds) == 1

    def single(self, seed: int) -> TrainingPlan:
        """The plan of a member that draws from ``seed``."""
        return TrainingPlan(
            self.steps, seed, self.batch_size, self.drop_last, schedule_steps=self.total_steps or None
        )


@dataclass(frozen=True)
class TrainingResult:
    """What came of training one rule on one task from one seed.

    Attributes:
        outcome: How it ended.
        reason: Why, in a few words; empty when ``ok``.
        steps: Steps completed.
        train_loss: Mean batch loss over the last ``window`` steps; NaN unless ``ok``.
        eval_loss: Mean loss on the scored split; NaN unless ``ok``.
        metric: Metric on the scored split; NaN unless ``ok``.
        seconds: Wall time, an equal share of the batch's when trained together with others.
        losses: Batch loss of every step done (for learning curves), empty if not kept.
        curve: Their means over equal parts of the training, likewise.
    """

    outcome: Outcome
    reason: str
    steps: int
    train_loss: float
    eval_loss: float
    metric: float
    seconds: float
    losses: tuple[float, ...] = ()
    curve: tuple[float, ...] = ()

    def with_curve(self) -> TrainingResult:
        """The same with a curve in place of its losses."""
        ends = [round(len(self.losses) * k / CURVE_PARTS) for k in range(CURVE_PARTS + 1)]
        parts = [self.losses[a:b] for a, b in pairwise(ends) if a < b]
        return replace(self, losses=(), curve=tuple(math.fsum(part) / len(part) for part in parts))

    @classmethod
    def unsuccessful(
        cls, outcome: Outcome, reason: str, steps: int = 0, seconds: float = 0.0
    ) -> TrainingResult:
        """A result without scores."""
        nan = float("nan")
        return cls(outcome, reason, steps, nan, nan, nan, seconds)


def derive_seed(*path: int) -> int:
    """Derive an independent 63-bit seed from a path of integers, the same on every machine."""
    state = np.random.SeedSequence(list(path)).generate_state(1, np.uint64)[0]
    return int(state) >> 1


def task_number(task: str) -> int:
    """What stands for a task in a path of `derive_seed`: of its name alone.

    Of a task file that is the name without the folder, so that it gives the same run on another machine.
    """
    return int.from_bytes(hashlib.sha256(Path(task).name.encode()).digest()[:4], "big")
