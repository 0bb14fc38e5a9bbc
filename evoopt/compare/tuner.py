"""How contenders are tuned: each by asking and telling, so that all advance side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from evoopt.compare.contender import Contender
from evoopt.compare.protocol import Protocol, check_trials
from evoopt.compare.space import GRID_FACTOR, Setting
from evoopt.compare.training_queue import Training, TrainingQueue
from evoopt.training.plan import TrainingResult


@dataclass(frozen=True)
class Trial:
    """What a setting achieved on validation data.

    Attributes:
        setting: What was tried.
        stage: ``"grid"``, ``"extension"`` or ``"refinement"``.
        failures: Tuning seeds on which training did not end well.
        metric: Mean validation metric over the others; NaN if there are none.
        loss: Mean validation loss over the others; NaN if there are none.
    """

    setting: Setting
    stage: str
    failures: int
    metric: float
    loss: float

    @property
    def rank(self) -> tuple[float, float, float, float]:
        """Sorts the best trial first: fewer failures, higher metric, lower loss, then the smaller rate."""
        if math.isnan(self.metric):
            return self.failures, math.inf, math.inf, self.setting.lr
        return self.failures, -self.metric, self.loss, self.setting.lr


class Tuner:
    """Spends a fixed number of trials.

    First a grid of learning rates under every schedule, all else at its default. Where a schedule's best rate
    lies on the edge of its grid, that grid grows by one point, again and again; of every schedule, because
    far below the best rate a constant one leads, whichever leads there. What trials are left go to
    quasi-random points around the best: the learning rate within one grid step, all else over its whole
    range. The sum is the same for every contender.

    Attributes:
        trials: What was tried so far.
        unsuccessful: Trainings that did not end well.

    Args:
        contender: Who is tuned.
        trials: How often it may be tried.
        points: Learning rates in the grid, odd.
        steps: Steps per training.
        seed: Decides the quasi-random points.
    """

    def __init__(self, contender: Contender, trials: int, points: int, steps: int, seed: int) -> None:
        self.trials: list[Trial] = []
        self.unsuccessful: list[TrainingResult] = []
        self._contender = contender
        self._schedules = contender.schedules_for(steps)
        self._count = trials
        self._points = points
        self._seed = seed
        self._asked: tuple[str, list[Setting]] = ("", [])

    def ask(self) -> list[Setting]:
        """The next settings to try; none when the trials are spent."""
        left = self._count - len(self.trials)
        if not self.trials:
            self._asked = "grid", self._grid()
        elif left == 0:
            self._asked = "", []
        elif self.trials[-1].stage != "refinement" and (beyond := self._beyond_the_edges()):
            self._asked = "extension", beyond[:left]
        else:
            self._asked = "refinement", self._refinement(left)
        return self._asked[1]

    def tell(self, results: Sequence[Sequence[TrainingResult]]) -> None:
        """Take the results of the settings asked for: one sequence over tuning seeds each, in order."""
        stage, settings = self._asked
        for setting, runs in zip(settings, results, strict=True):
            good = [run for run in runs if run.outcome == "ok"]
            self.unsuccessful += [run for run in runs if run.outcome != "ok"]
            metric = math.fsum(run.metric for run in good) / len(good) if good else math.nan
            loss = math.fsum(run.eval_loss for run in good) / len(good) if good else math.nan
            self.trials.append(Trial(setting, stage, len(runs) - len(good), metric, loss))

    @property
    def best(self) -> Trial:
        """The best trial so far."""
        return min(self.trials, key=lambda trial: trial.rank)

    @property
    def at_edge(self) -> bool:
        """Whether the best learning rate is still the outermost one tried under its schedule."""
        return self._beyond_the_edge(self.best.setting.schedule) is not None

    def _grid(self) -> list[Setting]:
        half = self._points // 2
        rates = [self._contender.space.lr * GRID_FACTOR**k for k in range(-half, half + 1)]
        return [Setting(schedule, (("lr", lr),)) for schedule in self._schedules for lr in rates]

    def _beyond_the_edges(self) -> list[Setting]:
        """The next rate of each schedule whose best is its outermost; of the leading schedule first."""
        ranked = sorted(self.trials, key=lambda trial: trial.rank)
        schedules = dict.fromkeys(trial.setting.schedule for trial in ranked)
        return [s for s in map(self._beyond_the_edge, schedules) if s is not None]

    def _beyond_the_edge(self, schedule: str) -> Setting | None:
        under = [trial for trial in self.trials if trial.setting.schedule == schedule]
        best, rates = min(under, key=lambda trial: trial.rank).setting, [t.setting.lr for t in under]
        if best.lr <= min(rates):
            return Setting(schedule, (("lr", best.lr / GRID_FACTOR),))
        if best.lr >= max(rates):
            return Setting(schedule, (("lr", best.lr * GRID_FACTOR),))
        return None

    def _refinement(self, count: int) -> list[Setting]:
        best, names = self.best.setting, list(self._contender.space.ranges)
        sampler = qmc.Sobol(1 + len(names), seed=np.random.default_rng(self._seed))
        points = sampler.random_base2(max(0, math.ceil(math.log2(count))))[:count]
        return [
            Setting(
                best.schedule,
                (
                    ("lr", best.lr * GRID_FACTOR ** float(2 * row[0] - 1)),
                    *self._contender.space.point(dict(zip(names, map(float, row[1:]), strict=True))).items(),
                ),
            )
            for row in points
        ]


Tuners = dict[tuple[str, str], Tuner]
"""By task and contender's name."""


def tune(contenders: Sequence[Contender], protocol: Protocol, queue: TrainingQueue) -> Tuners:
    """Spend every contender's trials on every task, on validation data.

    Raises:
        EvooptError: Too few trials for the schedules there are, or a task that cannot be trained.
    """
    points = check_trials(contenders, protocol)
    by_name = {contender.name: contender for contender in contenders}
    tuners = {
        (task, name): Tuner(contender, protocol.trials, points, protocol.steps, protocol.seed)
        for task in protocol.tasks
        for name, contender in by_name.items()
    }
    while asked := {key: settings for key, tuner in tuners.items() if (settings := tuner.ask())}:
        wanted = [
            Training(task, by_name[name].member(setting, protocol.steps), protocol.plan(seed, "validation"))
            for (task, name), settings in asked.items()
            for setting in settings
            for seed in protocol.seeds_of(task, "validation")
        ]
        results = iter(queue.train(wanted))
        for key, settings in asked.items():
            tuners[key].tell([[next(results) for _ in range(protocol.tuning_seeds)] for _ in settings])
    return tuners
