"""Results of a reproduction of GACNN: learning curves by row and seed, and who leads for how long."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reproductions.results import PartResult

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
class TaskResult(PartResult):
    """What came out on one task; a row's ``curve`` has accuracies along each of `AXES`."""

    def total(self, row: str, key: str) -> float:
        """One number of a row, over all seeds."""
        return sum(self.column(row, key).values())

    def extent(self, row: str, axis: str) -> tuple[float, float]:
        """Smallest positive place on an axis where a row was looked at, and its end, over all seeds."""
        columns = [scores["curve"][axis] for scores in self.rows[row].values()]
        return min(x for column in columns for x in column if x > 0), max(column[-1] for column in columns)

    def curves(self, row: str, axis: str, grid: Curve) -> Curve:
        """Accuracy ``[seeds, len(grid)]``; it stays as it was last seen, also after the end."""
        return np.stack([_held(scores["curve"], axis, grid) for scores in self.rows[row].values()])

    def in_common(self, *rows: str) -> TaskResult:
        """The seeds that all of some rows have."""
        seeds = set.intersection(*(set(self.rows[row]) for row in rows))
        return replace(self, rows={row: {s: self.rows[row][s] for s in sorted(seeds)} for row in rows})


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
    """Where a row is above its rival on one of `AXES`, over the seeds they share, one at least."""
    result = result.in_common(row, rival)
    extents = [result.extent(name, axis) for name in (row, rival)]
    grid = np.geomspace(min(low for low, _ in extents), max(high for _, high in extents), 2000)
    ours, theirs = (result.curves(name, axis, grid).mean(axis=0) for name in (row, rival))
    ahead = np.flatnonzero(ours > theirs)
    if not len(ahead):
        return Lead(False, None)
    last = math.inf if ahead[-1] == len(grid) - 1 else float(grid[ahead[-1]])
    behind = np.count_nonzero(ours[: ahead[-1]] < theirs[: ahead[-1]])
    return Lead(len(ahead) > int(behind), last)


def _held(curve: Mapping[str, Any], axis: str, grid: Curve) -> Curve:
    # The margin keeps rounding of the grid's ends from missing a point.
    place = np.searchsorted(curve[axis], grid * (1 + 1e-9), side="right") - 1
    return np.array(curve["accuracy"], np.float64)[np.maximum(place, 0)]
