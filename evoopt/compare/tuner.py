"""How contenders are tuned: each by asking and telling, so that all advance side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import qmc

from evoopt.compare.contender import Contender
from evoopt.compare.protocol import FINALISTS, Protocol, check_trials
from evoopt.compare.space import LR_REACH, RANGES, Setting
from evoopt.compare.training_queue import Training, TrainingQueue
from evoopt.training.plan import TrainingResult

ROUNDS = 3
"""Rounds of quasi-random points, each around the best of all before."""

LOWEST, HIGHEST = 1e-10, 1e4
"""Learning rates that the grid does not grow beyond."""

MOST_TUNED = 16
"""Dimensions of the quasi-random points; more than any rule has that is tuned."""


@dataclass(frozen=True)
class Trial:
    """What a setting achieved on validation data.

    Attributes:
        setting: What was tried.
        stage: ``"grid"``, ``"extension"``, ``"between"`` or ``"refinement"``.
        results: Its trainings, one per seed; of the best few also those of the second look.
    """

    setting: Setting
    stage: str
    results: tuple[TrainingResult, ...]

    @property
    def failures(self) -> int:
        """Tuning seeds on which training did not end well."""
        return sum(result.outcome != "ok" for result in self.results)

    @property
    def diverged(self) -> bool:
        """Whether all of them diverged, which a smaller rate may mend."""
        return all(result.outcome == "diverged" for result in self.results)

    @property
    def metric(self) -> float:
        """Mean validation metric over the others; NaN if there are none."""
        return self._mean([result.metric for result in self.results if result.outcome == "ok"])

    @property
    def loss(self) -> float:
        """Mean validation loss over the others; NaN if there are none."""
        return self._mean([result.eval_loss for result in self.results if result.outcome == "ok"])

    @property
    def score(self) -> tuple[float, float, float]:
        """Smaller is better: fewer failures, higher metric, lower loss."""
        metric, loss = self.metric, self.loss
        return (self.failures, math.inf, math.inf) if math.isnan(metric) else (self.failures, -metric, loss)

    @property
    def rank(self) -> tuple[float, ...]:
        """Sorts the best trial first; of equal ones that with the smaller rate."""
        return (*self.score, self.setting.lr)

    @staticmethod
    def _mean(values: Sequence[float]) -> float:
        return math.fsum(values) / len(values) if values else math.nan


class Tuner:
    """Spends a fixed number of trials.

    First three learning rates, powers of ten around the contender's own, under every schedule, all else
    at its default. Where a schedule's best rate is the outermost, the next power of ten follows, again
    and again while that helps; under every schedule, because far below the best rate a constant one
    leads, whichever leads there. While more than half of the trials are left, the leading schedule also
    gets a second rate to either side of its best: a dip one power of ten wide may hide a higher peak. Then
    the rates between each schedule's best and its two neighbours. What
    trials are left go to quasi-random points around the best, in three rounds: the learning rate within
    half a power of ten, all else over its whole range; then both within half of that around the best so
    far, then a quarter. Rates are on one grid, and points of one sequence, for all contenders, so that
    what tuning happens to hit tells equal rules apart as little as it can. In the end the best few are
    trained from further seeds, because the best of many that were looked at briefly is often the
    luckiest. The sum is the same for every contender.

    Attributes:
        trials: What was tried so far.

    Args:
        contender: Who is tuned.
        trials: How often it may be tried, at least three times as often as it has schedules.
        steps: Steps per training.
        seed: Decides the quasi-random points; any number of integers.
    """

    def __init__(self, contender: Contender, trials: int, steps: int, seed: Sequence[int]) -> None:
        self.trials: list[Trial] = []
        self._contender = contender
        self._schedules = contender.schedules_for(steps)
        self._count = trials
        self._seed = seed
        self._asked: tuple[str, list[Setting]] = ("", [])
        self._finalists: list[int] = []
        self._round = 0

    @property
    def unsuccessful(self) -> list[TrainingResult]:
        """Trainings that did not end well."""
        return [result for trial in self.trials for result in trial.results if result.outcome != "ok"]

    def ask(self) -> list[Setting]:
        """The next settings to try; none when the trials are spent."""
        left = self._count - len(self.trials)
        if not self.trials:
            self._asked = "grid", self._grid()
        elif left == 0:
            self._asked = "", []
        elif self.trials[-1].stage in ("grid", "extension"):
            beyond = self._beyond_the_edges() or (self._beyond_a_dip() if 2 * left > self._count else [])
            stage, settings = ("extension", beyond) if beyond else ("between", self._between())
            self._asked = stage, settings[:left]
        else:
            self._asked = "refinement", self._refinement(left)
        return self._asked[1]

    def tell(self, results: Sequence[Sequence[TrainingResult]]) -> None:
        """Take the results of the settings asked for: one sequence over tuning seeds each, in order."""
        stage, settings = self._asked
        for setting, runs in zip(settings, results, strict=True):
            self.trials.append(Trial(setting, stage, tuple(runs)))

    def ask_again(self) -> list[Setting]:
        """Of the trials that were spent, the best: to be trained from further seeds."""
        places = range(len(self.trials))
        self._finalists = sorted(places, key=lambda place: self.trials[place].rank)[:FINALISTS]
        return [self.trials[place].setting for place in self._finalists]

    def tell_again(self, results: Sequence[Sequence[TrainingResult]]) -> None:
        """Take the results from the further seeds; from here on one of these is the best."""
        for place, runs in zip(self._finalists, results, strict=True):
            trial = self.trials[place]
            self.trials[place] = replace(trial, results=(*trial.results, *runs))

    @property
    def best(self) -> Trial:
        """The best trial so far."""
        trials = [self.trials[place] for place in self._finalists] or self.trials
        return min(trials, key=lambda trial: trial.rank)

    @property
    def at_edge(self) -> bool:
        """Whether the best learning rate is the outermost one tried under its schedule."""
        best = self.best.setting
        rates = [t.setting.lr for t in self.trials if t.setting.schedule == best.schedule]
        return best.lr in (min(rates), max(rates))

    @property
    def lack(self) -> str:
        """What more trials would have been for, in words; nothing if there were enough."""
        last = self.trials[-1].stage
        if self.at_edge and last in ("grid", "extension"):
            return "the best learning rate is still the outermost tried"
        tuned = last == "refinement" or not self._contender.space.ranges
        return "" if tuned else "nothing but the learning rate was tuned"

    def _grid(self) -> list[Setting]:
        rates = [_power_of_ten(self._contender.space.lr, k) for k in (-1, 0, 1)]
        return [Setting(schedule, (("lr", lr),)) for schedule in self._schedules for lr in rates]

    def _beyond_the_edges(self) -> list[Setting]:
        """The next rate of each schedule whose best is its outermost; of the leading schedule first."""
        return [s for s in map(self._beyond_the_edge, self._worth_following()) if s is not None]

    def _beyond_the_edge(self, schedule: str) -> Setting | None:
        ladder, best = self._ladder(schedule)
        if 0 < best < len(ladder) - 1:
            return None
        outwards = -1 if best == 0 else 1
        if ladder[best].score == ladder[best - outwards].score and not ladder[best].diverged:
            return None  # further ones will tell nothing either
        return self._next_to(ladder[best], outwards)

    def _beyond_a_dip(self) -> list[Setting]:
        """What the leading schedule lacks of two rates to either side of its best, if it tells anything."""
        ladder, best = self._ladder(self._worth_following()[0])
        settings = []
        for outwards, tried, edge, inner in (
            (-1, best, ladder[0], ladder[1]),
            (1, len(ladder) - 1 - best, ladder[-1], ladder[-2]),
        ):
            if tried < 2 and not edge.diverged and edge.score != inner.score:
                settings.append(self._next_to(edge, outwards))
        return [setting for setting in settings if setting is not None]

    @staticmethod
    def _next_to(trial: Trial, outwards: int) -> Setting | None:
        rate = _power_of_ten(trial.setting.lr, outwards)
        return Setting(trial.setting.schedule, (("lr", rate),)) if LOWEST <= rate <= HIGHEST else None

    def _between(self) -> list[Setting]:
        """The rates between each schedule's best and its neighbours; of the leading schedule first."""
        settings = []
        for schedule in self._worth_following():
            ladder, best = self._ladder(schedule)
            for beside in ladder[max(0, best - 1) : best] + ladder[best + 1 : best + 2]:
                lr = math.sqrt(ladder[best].setting.lr * beside.setting.lr)
                settings.append(Setting(schedule, (("lr", lr),)))
        return settings

    def _worth_following(self) -> list[str]:
        """Schedules, the leading one first; those that never ended well only if none did."""
        ranked = sorted(self.trials, key=lambda trial: trial.rank)
        well = [trial for trial in ranked if not math.isnan(trial.metric)]
        return list(dict.fromkeys(trial.setting.schedule for trial in well or ranked))

    def _ladder(self, schedule: str) -> tuple[list[Trial], int]:
        """Trials under a schedule by learning rate, and the place of the best."""
        under = [trial for trial in self.trials if trial.setting.schedule == schedule]
        ladder = sorted(under, key=lambda trial: trial.setting.lr)
        return ladder, min(range(len(ladder)), key=lambda k: ladder[k].rank)

    def _refinement(self, left: int) -> list[Setting]:
        """Points around the best, in a box that is half as wide in every round."""
        count = math.ceil(left / (ROUNDS - self._round))
        side, self._round = 0.5**self._round, self._round + 1
        best, space = self.best.setting, self._contender.space
        values = {name: self._contender.subject.value(name) for name in space.ranges} | dict(best.values)
        lows = {
            name: min(max(space.position(name, values[name]) - side / 2, 0.0), 1 - side)
            for name in space.ranges
        }
        settings = []
        for point in _points(sorted(space.ranges), (*self._seed, self._round), count):
            lr = best.lr * LR_REACH ** (side * (2 * point["lr"] - 1))
            unit = {name: low + side * point[name] for name, low in lows.items()}
            settings.append(Setting(best.schedule, (("lr", lr), *space.point(unit).items())))
        return settings


def _points(names: Sequence[str], seed: Sequence[int], count: int) -> list[dict[str, float]]:
    """Points of a Sobol sequence, of one and the same whatever else is tuned and however many are wanted."""
    known = ("lr", *sorted(RANGES))
    columns = (*known, *(name for name in names if name not in known))
    sampler = qmc.Sobol(max(MOST_TUNED, len(columns)), seed=np.random.default_rng(seed))
    rows = sampler.random_base2(max(0, math.ceil(math.log2(count))))[:count]
    return [dict(zip(columns, map(float, row), strict=False)) for row in rows]


def _power_of_ten(lr: float, further: int) -> float:
    """The power of ten nearest to a rate, or one so many powers further: the same float for everybody."""
    return float(10.0 ** (round(math.log10(lr)) + further))


_Key = tuple[str, str, int]
"""A task, a contender's name, and the number of a tuning."""

Tuners = dict[tuple[str, str], list[Tuner]]
"""By task and contender's name: one, or one for each final seed."""


def tune(contenders: Sequence[Contender], protocol: Protocol, queue: TrainingQueue) -> Tuners:
    """Spend every contender's trials on every task, on validation data.

    Raises:
        EvooptError: Too few trials for the schedules there are, or a task that cannot be trained.
    """
    check_trials(contenders, protocol)
    by_name = {contender.name: contender for contender in contenders}
    tuners = {
        (task, name, k): Tuner(contender, protocol.trials, protocol.steps, (protocol.seed, k))
        for task in protocol.tasks
        for name, contender in by_name.items()
        for k in range(protocol.tunings)
    }

    def train(asked: Mapping[_Key, Sequence[Setting]], again: bool) -> Iterator[list[list[TrainingResult]]]:
        seeds = {(task, k): protocol.tuning_seeds_of(task, k, again) for task, _, k in asked}
        wanted = [
            Training(task, by_name[name].member(setting, protocol.steps), protocol.plan(seed, "validation"))
            for (task, name, k), settings in asked.items()
            for setting in settings
            for seed in seeds[task, k]
        ]
        results = iter(queue.train(wanted))
        for (task, _, k), settings in asked.items():
            yield [[next(results) for _ in seeds[task, k]] for _ in settings]

    while asked := {key: settings for key, tuner in tuners.items() if (settings := tuner.ask())}:
        for key, results in zip(asked, train(asked, again=False), strict=True):
            tuners[key].tell(results)
    finalists = {key: tuner.ask_again() for key, tuner in tuners.items()}
    for key, results in zip(finalists, train(finalists, again=True), strict=True):
        tuners[key].tell_again(results)
    return {
        (task, name): [tuners[task, name, k] for k in range(protocol.tunings)]
        for task in protocol.tasks
        for name in by_name
    }
