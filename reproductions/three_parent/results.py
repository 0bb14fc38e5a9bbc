"""What a reproduction of recombination found: results by part, method and search, and their differences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoopt.compare.statistics import PairedDifference, paired_difference
from evoopt.evolution.schedule import Schedule
from evoopt.evolution.trial import figure_of_merit
from reproductions.three_parent.budget import PARTS, Budget, Measure
from reproductions.units import Unit, UnitFile

NAMES = {
    "default": "default hyperparameters",
    "random": "random search",
    "truncation": "truncation PBT",
    "three_parent_paper": "three parents, as published",
    "three_parent": "three parents, robust",
}
"""Methods in order."""

SUBJECTS = ("three_parent_paper", "three_parent")

FEWEST = 5
"""Pairs for a verdict; a bootstrap interval of n values covers at most 1 - 2**(1-n)."""


@dataclass(frozen=True)
class PartResult:
    """Everything finished of one part.

    Attributes:
        name: Part.
        budget: What each search could spend.
        found: Results of units by method and seed of the search.
    """

    name: str
    budget: Budget
    found: Mapping[str, Mapping[int, Mapping[str, Any]]]

    @classmethod
    def collect(cls, name: str, budget: Budget, units: Sequence[Unit], file: UnitFile) -> PartResult:
        """Read the finished units of a part."""
        found: dict[str, dict[int, Mapping[str, Any]]] = {}
        for unit in units:
            if unit in file:
                found.setdefault(unit.method, {})[unit.seed] = file[unit]
        return cls(name, budget, {method: found[method] for method in NAMES if method in found})

    @property
    def measure(self) -> Measure:
        """What its results are judged by; lower is better."""
        return PARTS[self.name].measure

    def replays(self, method: str, measure: str | None = None) -> dict[int, list[float]]:
        """Test results of the trainings on fresh seeds, by search; NaN for one that diverged.

        Args:
            method: A key of `NAMES`.
            measure: ``"error"``, ``"loss"``, ``"perplexity"``, ``"steps"`` or ``"seconds"``; by default that
                of the part.
        """
        kind = measure or self.measure
        return {seed: _judged(result["replay"], kind) for seed, result in self.found.get(method, {}).items()}

    def means(self, method: str, measure: str | None = None) -> dict[int, float]:
        """`replays` averaged over the fresh seeds of each search."""
        return {seed: statistics.fmean(own) for seed, own in self.replays(method, measure).items()}

    def curves(self, method: str) -> list[NDArray[np.float64]]:
        """Validation results of every training on fresh seeds by generation, in the part's measure."""
        found = []
        for result in self.found.get(method, {}).values():
            own = result["replay"]
            rows = zip(own["losses"], own["metrics"], strict=True)
            found += list(np.array([_merits(self.measure, *row) for row in rows], np.float64).T)
        return found

    def schedules(self, method: str) -> dict[int, Schedule]:
        """The winners' schedules by search; none where hyperparameters do not change."""
        found = self.found.get(method, {}).items()
        return {seed: Schedule.from_json(own["schedule"]) for seed, own in found if "schedule" in own}


def _judged(own: Mapping[str, Any], measure: str) -> list[float]:
    if measure in ("steps", "seconds"):
        return numbers(own[measure])
    return _merits(measure, own["test_losses"], own["test_metrics"])


def _merits(measure: str, losses: Sequence[float | None], metrics: Sequence[float | None]) -> list[float]:
    pairs = zip(numbers(losses), numbers(metrics), strict=True)
    return [figure_of_merit(measure, loss, metric) for loss, metric in pairs]


def numbers(values: Iterable[float | None]) -> list[float]:
    """Numbers as they were before JSON, which has no NaN."""
    return [math.nan if value is None else value for value in values]


@dataclass(frozen=True)
class Finding:
    """How much lower one method's results are than another's, paired by search.

    Attributes:
        difference: The rival's result minus the subject's.
        relative: The same divided by the rival's result.
    """

    difference: PairedDifference
    relative: PairedDifference


def verdict_of(difference: PairedDifference, direction: int = 1) -> str:
    """Whether a difference with the sign of ``direction`` holds, by its 95 % interval."""
    if difference.compared < FEWEST:
        return "too few for a verdict"
    low, high = sorted((direction * difference.low, direction * difference.high))
    return "holds" if low > 0 else "the opposite holds" if high < 0 else "no detectable difference"


def compare(result: PartResult, subject: str, rival: str, measure: str | None = None) -> Finding | None:
    """Compare two methods of a part; None if one is missing."""
    ours, theirs = result.means(subject, measure), result.means(rival, measure)
    common = [seed for seed in ours if seed in theirs]
    if not common:
        return None
    own, other = [ours[s] for s in common], [theirs[s] for s in common]
    reduced = [1 - a / b if b else math.nan for a, b in zip(own, other, strict=True)]
    return Finding(paired_difference(other, own), paired_difference(reduced, [0.0] * len(reduced)))


def one_by_one(result: PartResult, subject: str) -> dict[str, int]:
    """How many searches found what beats the defaults on their own fresh seeds, by verdict.

    This is how the paper judges its one search: ten trainings with what it found, ten with the defaults.
    """
    ours, theirs = result.replays(subject), result.replays("default")
    counts: dict[str, int] = {}
    for seed in [seed for seed in ours if seed in theirs]:
        verdict = verdict_of(paired_difference(theirs[seed], ours[seed]))
        counts[verdict] = counts.get(verdict, 0) + 1
    return counts


def drift(result: PartResult, method: str, name: str) -> PairedDifference | None:
    """By how many powers of ten a hyperparameter grows along the winner's lineage, over searches.

    The slope of the least-squares line through its logarithm, times the length of the schedule. None without
    a schedule of three generations or more.
    """
    grown = []
    for schedule in result.schedules(method).values():
        if len(schedule) > 2:
            values = np.log10([float(own[name]) for own in schedule.values])
            slope = np.polynomial.Polynomial.fit(np.arange(len(values)), values, 1).convert().coef
            grown.append(float(slope[1]) * (len(values) - 1) if len(slope) > 1 else 0.0)
    return paired_difference(grown, [0.0] * len(grown)) if grown else None


@dataclass(frozen=True)
class Found:
    """A whole reproduction.

    Attributes:
        parts: Results by part, in order.
        notes: What is missing, and why.
        paper: Whether the budget is the published one.
    """

    parts: tuple[PartResult, ...]
    notes: tuple[str, ...]
    paper: bool
