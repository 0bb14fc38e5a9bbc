"""What a reproduction of GADAM found: scores and training losses by part, runs that the figures show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reproductions.claims import Finding, compare
from reproductions.gadam.budget import SUBJECTS, FiguresBudget
from reproductions.gadam.figures import generation_units, population_units, timing_units
from reproductions.gadam.units import DETERMINISTIC
from reproductions.results import Found, PartResult, Rows, collect, numbers
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
    "gadam_paper_average": "GADAM as published, mean of the weights",
    "gadam_average": "GADAM, robust, mean of the weights",
    "gadam_reinitialised": "GADAM, children fresh at random",
    "random_forest": "random forest",
    "svm": "SVM, rbf kernel",
    "knn": "nearest neighbours, k = 3",
}
"""Rows of our tables in order."""


@dataclass(frozen=True)
class TableResult(PartResult):
    """Everything finished of one data set; rows are as from `Bench.row`, shares in [0, 1].

    Attributes:
        curves: By method and seed: training losses, as from `thinned`, and ``crossovers`` of GADAM's.
        seconds: What all units took in their workers.
    """

    curves: Rows
    seconds: float

    @classmethod
    def of(cls, name: str, budget: Any, units: Sequence[Unit], file: UnitFile) -> TableResult:
        """Read the finished units of a data set."""
        done = [(unit, file[unit]) for unit in units if unit in file]
        curves: dict[str, dict[int, dict[str, Any]]] = {}
        for unit, result in done:
            if "curve" in result:
                curve = {**result["curve"], "crossovers": result.get("crossovers", [])}
                curves.setdefault(unit.method, {})[unit.seed] = curve
        seconds = sum(result["seconds"] for _, result in done)
        return cls(name, budget, collect(units, file, ROWS), curves, seconds)

    def find(self, subject: str, rival: str) -> Finding | None:
        """Compare test accuracies of two rows; None if one is missing.

        The one score of a method without randomness meets every seed.
        """
        ours, theirs = (self.column(row, "test_accuracy") for row in (subject, rival))
        if rival in DETERMINISTIC and ours and theirs:
            theirs = dict.fromkeys(ours, next(iter(theirs.values())))
        return compare(ours, theirs)


@dataclass(frozen=True)
class Course:
    """One GADAM run as figures see it, an entry per generation.

    Attributes:
        loss: Mean loss of the trained ``"parents"`` and ``"children"`` on the validation batch.
        metric: Mean accuracy likewise.
        adopted: Share of children among the survivors.
        best: Lowest loss among the survivors.
    """

    loss: Mapping[str, NDArray[np.float64]]
    metric: Mapping[str, NDArray[np.float64]]
    adopted: NDArray[np.float64]
    best: NDArray[np.float64]

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Course:
        """Read the result of a unit."""
        history = result["history"]
        loss, metric = (
            {kind: np.array([_mean(record[kind][name]) for record in history]) for kind in KINDS}
            for name in ("loss", "metric")
        )
        adopted, best = (
            np.array(numbers(record[name] for record in history)) for name in ("adopted", "best")
        )
        return cls(loss, metric, adopted, best)


KINDS = ("parents", "children")


@dataclass(frozen=True)
class FiguresResult(PartResult):
    """What figures 3 to 6 are drawn from.

    Attributes:
        runs: By variant of GADAM.
        sweep: By variant and population size.
        times: Seconds of generations by number of workers.
    """

    runs: Mapping[str, Sequence[Course]]
    sweep: Mapping[str, Mapping[int, Sequence[Course]]]
    times: Mapping[int, Sequence[float]]

    @classmethod
    def of(cls, name: str, budget: FiguresBudget, file: UnitFile) -> FiguresResult:
        """Read the finished units of the figures."""
        runs = {variant: _courses(generation_units(budget), file, variant) for variant in SUBJECTS}
        sweep = {
            variant: {
                size: own
                for size, units in population_units(budget).items()
                if (own := _courses(units, file, variant))
            }
            for variant in SUBJECTS
        }
        times = {n: file[unit]["seconds"] for n, unit in timing_units(budget).items() if unit in file}
        return cls(name, budget, {}, {v: own for v, own in runs.items() if own}, sweep, times)


def tables(found: Found[PartResult]) -> list[TableResult]:
    """Results of the data sets."""
    return [part for part in found.parts if isinstance(part, TableResult)]


def rivals_in(parts: Sequence[TableResult]) -> list[str]:
    """The rows that a GADAM among them is held against; none without a GADAM."""
    rows = {row for part in parts for row in part.rows}
    return [row for row in ROWS if row in rows.difference(SUBJECTS)] if rows.intersection(SUBJECTS) else []


def figures(found: Found[PartResult]) -> FiguresResult | None:
    """What the figures are drawn from; None if they were not asked for."""
    return next((part for part in found.parts if isinstance(part, FiguresResult)), None)


def _courses(units: Sequence[Unit], file: UnitFile, variant: str) -> list[Course]:
    return [Course.of(file[unit]) for unit in units if unit.method == variant and unit in file]


def _mean(values: Sequence[float | None]) -> float:
    finite = [value for value in values if value is not None]
    return float(np.mean(finite)) if finite else float("nan")
