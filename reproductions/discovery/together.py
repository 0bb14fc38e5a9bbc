"""Comparisons on one task each, every one by a budget of its own, taken together as the protocol asks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evoopt.compare.analysis import overall_ratio
from evoopt.compare.result import Comparison
from evoopt.compare.statistics import (
    ALPHA,
    RESAMPLES,
    PairedDifference,
    expanded_interval,
    holm,
    paired_difference,
)
from evoopt.errors import EvooptError, unknown_name
from evoopt.systems.optimizer.gain_target import LEAST_SPREAD


@dataclass(frozen=True)
class OnTask:
    """A rule held against one opponent on one task.

    Attributes:
        difference: Of the test metrics, seed by seed.
        p_adjusted: Its p-value after Holm's correction over the tasks.
        gain: The mean difference in standard deviations over the opponent's seeds, those at least a tenth of
            a point, as a search counts it.
    """

    difference: PairedDifference
    p_adjusted: float
    gain: float

    @property
    def finding(self) -> str:
        """What that means."""
        if self.p_adjusted >= ALPHA:
            return "no detectable difference"
        return "better" if self.difference.direction > 0 else "worse"


@dataclass(frozen=True)
class Against:
    """A rule held against one opponent on all tasks; pairs are the ends of 95 % bootstrap intervals over
    seeds (`expanded_interval`), which are drawn in pairs, while tasks are as they are.

    Attributes:
        opponent: Name of the opponent.
        tasks: By task.
        gain: Mean of the tasks' gains.
        gain_interval: Of that.
        error_ratio: Error by the opponent's, geometric mean over tasks.
        ratio_interval: Of that.
        cost: Time of an optimizer step by the opponent's, likewise.
    """

    opponent: str
    tasks: Mapping[str, OnTask]
    gain: float
    gain_interval: tuple[float, float]
    error_ratio: float
    ratio_interval: tuple[float, float]
    cost: float

    def count(self, finding: str) -> int:
        """On how many tasks that was found."""
        return sum(one.finding == finding for one in self.tasks.values())


def joined(comparisons: Sequence[Comparison]) -> Comparison:
    """Comparisons of the same contenders on different tasks as one, whose protocol is that of the first.

    Raises:
        EvooptError: None at all, a task that is there twice, or contenders that differ.
    """
    tasks = [task for comparison in comparisons for task in comparison.tasks]
    if not tasks or len(set(tasks)) < len(tasks):
        raise EvooptError(f"comparisons of different tasks are needed, found: {', '.join(tasks) or 'none'}")
    if len({frozenset(comparison.names) for comparison in comparisons}) > 1:
        raise EvooptError("the comparisons must have the same contenders")
    return replace(
        comparisons[0],
        scores={task: of_task for one in comparisons for task, of_task in one.scores.items()},
        tuning={task: of_task for one in comparisons for task, of_task in one.tuning.items()},
        facts={task: of_task for one in comparisons for task, of_task in one.facts.items()},
        notes=tuple(dict.fromkeys(note for one in comparisons for note in one.notes)),
    )


def against(rule: str, opponent: str, comparison: Comparison) -> Against:
    """Hold a contender of a comparison against another.

    Raises:
        EvooptError: One that is not in it.
    """
    for name in (rule, opponent):
        if name not in comparison.names:
            raise unknown_name("contender", name, comparison.names)
    pairs = {task: (own[rule], own[opponent]) for task, own in comparison.scores.items()}
    differences = {task: paired_difference(a.metric, b.metric) for task, (a, b) in pairs.items()}
    adjusted = holm([difference.p_value for difference in differences.values()])
    units = {task: _spread(np.array(b.metric)) for task, (_, b) in pairs.items()}
    tasks = {
        task: OnTask(differences[task], p, differences[task].mean / units[task])
        for task, p in zip(pairs, adjusted, strict=True)
    }
    gains = [(np.array(a.metric) - np.array(b.metric)) / units[task] for task, (a, b) in pairs.items()]
    ratio, *ratio_interval = overall_ratio(replace(comparison, reference=opponent), rule)
    costs = [math.log(a.step_us / b.step_us) for a, b in pairs.values()]
    return Against(
        opponent,
        tasks,
        math.fsum(one.gain for one in tasks.values()) / len(tasks),
        _interval(gains),
        ratio,
        (ratio_interval[0], ratio_interval[1]),
        math.exp(math.fsum(costs) / len(costs)),
    )


def _spread(metrics: NDArray[np.float64]) -> float:
    good = metrics[np.isfinite(metrics)]
    return max(float(good.std(ddof=1)) if len(good) > 1 else 0.0, LEAST_SPREAD["score"])


def _interval(by_task: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Of the mean over tasks of means over seeds; NaN with fewer than two seeds on any."""
    rng = np.random.default_rng(0)
    finite = [gains[np.isfinite(gains)] for gains in by_task]
    counts = [len(good) for good in finite]
    if min(counts) < 2:
        return math.nan, math.nan
    means = [good[rng.integers(len(good), size=(RESAMPLES, len(good)))].mean(axis=1) for good in finite]
    mean = math.fsum(float(good.mean()) for good in finite) / len(finite)
    return expanded_interval(mean, np.mean(means, axis=0), min(counts), sum(counts) - len(counts))
