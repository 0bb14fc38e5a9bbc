"""What a reproduction of GADAM found: scores by part, row and seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reproductions.gadam.budget import Budget, FiguresBudget
from reproductions.units import Unit, UnitFile

ROWS = {
    "gadam_paper": "GADAM as published",
    "gadam": "GADAM, robust",
    "adam": "Adam",
    "sgd": "SGD",
    "rmsprop": "RMSprop",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
    "adam_long": "Adam, equal compute",
    "adam_tuned": "Adam, tuned, equal compute",
    "adam_best": "Adam, best of g restarts",
    "adam_ensemble": "Adam, ensemble of g restarts",
    "gadam_reinitialised": "GADAM, children fresh at random",
    "random_forest": "random forest",
    "svm": "SVM, rbf kernel",
    "knn": "nearest neighbours, k = 3",
}
"""Rows of our tables in order."""


@dataclass(frozen=True)
class PartResult:
    """Everything finished of one part.

    Attributes:
        name: Part.
        budget: What each method could spend.
        rows: By row and seed: ``test_accuracy``, ``test_loss``, ``steps``, ... in [0, 1]; see `Bench.row`.
        curves: By method and seed: training losses, as from `thinned`, and ``crossovers`` of GADAM's.
        seconds: What all units took in their workers.
    """

    name: str
    budget: Budget
    rows: dict[str, dict[int, dict[str, Any]]]
    curves: dict[str, dict[int, dict[str, Any]]]
    seconds: float

    @classmethod
    def collect(cls, name: str, budget: Budget, units: Sequence[Unit], file: UnitFile) -> PartResult:
        """Read the finished units of a part."""
        rows: dict[str, dict[int, dict[str, Any]]] = {}
        curves: dict[str, dict[int, dict[str, Any]]] = {}
        results = [(unit, file[unit]) for unit in units if unit in file]
        for unit, result in results:
            for row, scores in result["rows"].items():
                rows.setdefault(row, {})[unit.seed] = scores
            if "curve" in result:
                curve = {**result["curve"], "crossovers": result.get("crossovers", [])}
                curves.setdefault(unit.method, {})[unit.seed] = curve
        in_order = {row: rows[row] for row in ROWS if row in rows}
        return cls(name, budget, in_order, curves, sum(result["seconds"] for _, result in results))

    def accuracies(self, row: str) -> dict[int, float]:
        """Test accuracy by seed; NaN for a training that diverged."""
        return self._column(row, "test_accuracy")

    def losses(self, row: str) -> dict[int, float]:
        """Test loss by seed; NaN for a training that diverged or a method without."""
        return self._column(row, "test_loss")

    def _column(self, row: str, name: str) -> dict[int, float]:
        found = self.rows.get(row, {})
        return {seed: math.nan if (v := scores.get(name)) is None else v for seed, scores in found.items()}


@dataclass(frozen=True)
class Found:
    """A whole reproduction.

    Attributes:
        parts: Results by data set, in order.
        figures: What the figures are drawn from; None if they were not asked for.
        file: Finished units.
        notes: What is missing, and why.
        paper: Whether the budget is the published one.
    """

    parts: tuple[PartResult, ...]
    figures: FiguresBudget | None
    file: UnitFile
    notes: tuple[str, ...]
    paper: bool


def spread_of(values: Sequence[float], factor: float = 1, digits: int = 4) -> str:
    """Mean ± standard deviation of numbers times a factor; NaN counts as diverged."""
    good = [factor * value for value in values if math.isfinite(value)]
    if not good:
        return "diverged"
    spread = f" ± {statistics.stdev(good):.{digits}f}" if len(good) > 1 else ""
    lost = f", {len(values) - len(good)} diverged" if len(good) < len(values) else ""
    return f"{statistics.fmean(good):.{digits}f}{spread}{lost}"
