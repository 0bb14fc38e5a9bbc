"""Results of a reproduction of GACNN by row and seed, learning curves, and differences of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from reproductions.gacnn.methods import Budget
from reproductions.units import Unit, UnitFile

ROWS = {
    "steady_state": "steady state, accordion",
    "steady_state_traditional": "steady state, traditional",
    "generational": "generational, accordion",
    "generational_traditional": "generational, traditional",
    "elitist": "elitist, accordion",
    "elitist_traditional": "elitist, traditional",
    "adam": "Adam",
    "sgd": "SGD",
    "elitist_matched": "elitist, accordion, matched mutation",
    "elitist_traditional_matched": "elitist, traditional, matched mutation",
    "robust": "robust elitist, accordion",
    "robust_traditional": "robust elitist, traditional",
    "elitist_adam": "elitist, accordion, then Adam",
    "robust_adam": "robust elitist, accordion, then Adam",
}
"""Titles of the rows, in order."""

AXES = {"iterations": "iterations", "examples": "examples seen", "seconds": "seconds"}
"""What progress is measured against."""

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class TaskResult:
    """What came out on one task.

    Attributes:
        name: The task.
        budget: What each method could spend.
        examples: Number of examples learned from.
        rows: Scores and curves by row and seed.
    """

    name: str
    budget: Budget
    examples: int
    rows: dict[str, dict[int, dict[str, Any]]]

    @classmethod
    def collect(
        cls, name: str, budget: Budget, examples: int, units: Sequence[Unit], file: UnitFile
    ) -> TaskResult:
        """Gather the rows of finished units."""
        found: dict[str, dict[int, dict[str, Any]]] = {}
        for unit in units:
            if unit in file:
                for row, scores in file[unit]["rows"].items():
                    found.setdefault(row, {})[unit.seed] = scores
        return cls(name, budget, examples, {row: found[row] for row in ROWS if row in found})

    def values(self, row: str, key: str) -> list[float]:
        """One number of a row for each seed; none for a row that is not there."""
        return [scores[key] for scores in self.rows.get(row, {}).values()]

    def extent(self, row: str, axis: str) -> tuple[float, float]:
        """Smallest positive place on an axis where a row was looked at, and its end, over all seeds."""
        columns = [scores["curve"][axis] for scores in self.rows[row].values()]
        return min(x for column in columns for x in column if x > 0), max(column[-1] for column in columns)

    def curves(self, row: str, axis: str, grid: Curve) -> Curve:
        """Accuracy ``[seeds, len(grid)]``; it stays as it was last seen, also after the end."""
        return np.stack([_held(scores["curve"], axis, grid) for scores in self.rows[row].values()])


@dataclass(frozen=True)
class Found:
    """A whole reproduction.

    Attributes:
        tasks: Results by task, in order.
        notes: What is missing, and why.
    """

    tasks: tuple[TaskResult, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """How much more accurate one row is than another, paired by seed.

    Attributes:
        mean: Mean difference.
        low: Lower end of its 95 % interval by Student's t; NaN for a single seed.
        high: Upper end.
        higher: In how many seeds the first is higher.
        seeds: Number of seeds.
    """

    mean: float
    low: float
    high: float
    higher: int
    seeds: int

    @property
    def verdict(self) -> str:
        """What the interval says about "the first is better"."""
        if math.isnan(self.low):
            return "one seed, no interval"
        if self.low > 0:
            return "holds"
        return "the opposite holds" if self.high < 0 else "no detectable difference"

    def __str__(self) -> str:
        known = not math.isnan(self.low)
        interval = f" ({100 * self.low:+.1f} to {100 * self.high:+.1f})" if known else ""
        return f"{100 * self.mean:+.1f}{interval} points, higher in {self.higher} of {self.seeds} seeds"


def compare_rows(result: TaskResult, row: str, rival: str, key: str = "accuracy") -> Finding | None:
    """Compare two rows of a task in seeds that both have; None without any.

    Args:
        result: Of the task.
        row: The first.
        rival: The second.
        key: ``"accuracy"``, on the examples learned from, or ``"test_accuracy"``.
    """
    ours, theirs = result.rows.get(row, {}), result.rows.get(rival, {})
    values = np.array([ours[seed][key] - theirs[seed][key] for seed in ours if seed in theirs])
    if not len(values):
        return None
    # Resampling two or three seeds cannot reach beyond their range, which is no 95 % interval.
    half = math.nan
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    mean = float(values.mean())
    return Finding(mean, mean - half, mean + half, int((values > 0).sum()), len(values))


@dataclass(frozen=True)
class Lead:
    """Where the mean curve of one row is above another's.

    Attributes:
        early: Whether it is above more than below, on the logarithmic axis, up to ``last``.
        last: Last place where it is above; None for nowhere, infinite for the end.
    """

    early: bool
    last: float | None


def lead(result: TaskResult, row: str, rival: str, axis: str) -> Lead:
    """Where a row is above its rival on one of `AXES`; both must be there."""
    extents = [result.extent(name, axis) for name in (row, rival)]
    grid = np.geomspace(min(low for low, _ in extents), max(high for _, high in extents), 2000)
    ours, theirs = (result.curves(name, axis, grid).mean(axis=0) for name in (row, rival))
    ahead = np.flatnonzero(ours > theirs)
    if not len(ahead):
        return Lead(False, None)
    last = math.inf if ahead[-1] == len(grid) - 1 else float(grid[ahead[-1]])
    behind = np.count_nonzero(ours[: ahead[-1]] < theirs[: ahead[-1]])
    return Lead(len(ahead) > int(behind), last)


def _held(curve: dict[str, list[float]], axis: str, grid: Curve) -> Curve:
    # The margin keeps rounding of the grid's ends from missing a point.
    place = np.searchsorted(curve[axis], grid * (1 + 1e-9), side="right") - 1
    return np.array(curve["accuracy"], np.float64)[np.maximum(place, 0)]
