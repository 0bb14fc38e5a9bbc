"""What a reproduction of Vose et al. found: results by part, method and search, and their differences."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoopt.systems.hyperparameters.schedules import Schedule
from evoopt.systems.hyperparameters.trial import figure_of_merit
from reproductions.claims import Finding, compare
from reproductions.results import PartResult, numbers
from reproductions.three_parent.budget import PARTS, Measure

NAMES = {
    "default": "default hyperparameters",
    "stepwise": "defaults, rate in steps",
    "random": "random search",
    "truncation": "truncation PBT",
    "three_parent_paper": "three parents, as published",
    "three_parent": "three parents, robust",
}
"""Methods in order."""

SUBJECTS = ("three_parent_paper", "three_parent")


@dataclass(frozen=True)
class SearchResult(PartResult):
    """Everything finished of one part: by method and seed of the search, what it found and its replay."""

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
        return {seed: _judged(result["replay"], kind) for seed, result in self.rows.get(method, {}).items()}

    def means(self, method: str, measure: str | None = None) -> dict[int, float]:
        """`replays` averaged over the fresh seeds of each search."""
        return {seed: statistics.fmean(own) for seed, own in self.replays(method, measure).items()}

    def curves(self, method: str) -> list[NDArray[np.float64]]:
        """Validation results of every training on fresh seeds by generation, in the part's measure."""
        found = []
        for result in self.rows.get(method, {}).values():
            own = result["replay"]
            rows = zip(own["losses"], own["metrics"], strict=True)
            found += list(np.array([_merits(self.measure, *row) for row in rows], np.float64).T)
        return found

    def schedules(self, method: str) -> dict[int, Schedule]:
        """The winners' schedules by search; none where hyperparameters do not change."""
        found = self.rows.get(method, {}).items()
        return {seed: Schedule.from_json(own["schedule"]) for seed, own in found if "schedule" in own}

    def lower(self, subject: str, rival: str = "default", measure: str | None = None) -> Finding | None:
        """How much lower a method's results are than another's, paired by search; None if one is missing."""
        # Named from the rival's side, since a finding is about who is higher.
        return compare(self.means(rival, measure), self.means(subject, measure))

    def share_lower(self, subject: str, rival: str = "default") -> Finding | None:
        """The same as a share of the rival's mean result; None if that is 0.

        A mean of single shares would be ruled by searches in which the rival happened to do well: of two
        methods each could be worse than the other.
        """
        finding, ours, theirs = self.lower(subject, rival), self.means(subject), self.means(rival)
        both = [theirs[s] for s in ours if math.isfinite(ours[s]) and math.isfinite(theirs.get(s, math.nan))]
        whole = statistics.fmean(both) if both else math.nan
        return finding.scaled(1 / whole) if finding is not None and whole else None

    def one_by_one(self, subject: str) -> Counter[str]:
        """How many searches found what beats the defaults on their own fresh seeds, by verdict.

        This is how the paper judges its one search: ten trainings with what it found, ten with the defaults.
        """
        ours, theirs = self.replays(subject), self.replays("default")
        found = (
            compare(*(dict(enumerate(own[seed])) for own in (theirs, ours)))
            for seed in ours
            if seed in theirs
        )
        return Counter(finding.verdict for finding in found if finding is not None)

    def drift(self, method: str, name: str) -> list[float]:
        """By how many powers of ten a hyperparameter grows along the winner's lineage, by search.

        The slope of the least-squares line through its logarithm, times the length of the schedule. Schedules
        of less than three generations are left out.
        """
        grown = []
        for schedule in self.schedules(method).values():
            if len(schedule) > 2:
                values = np.log10([float(own[name]) for own in schedule.values])
                slope = np.polynomial.Polynomial.fit(np.arange(len(values)), values, 1).convert().coef
                grown.append(float(slope[1]) * (len(values) - 1) if len(slope) > 1 else 0.0)
        return grown


def _judged(own: Mapping[str, Any], measure: str) -> list[float]:
    if measure in ("steps", "seconds"):
        return numbers(own[measure])
    return _merits(measure, own["test_losses"], own["test_metrics"])


def _merits(measure: str, losses: Sequence[float | None], metrics: Sequence[float | None]) -> list[float]:
    pairs = zip(numbers(losses), numbers(metrics), strict=True)
    return [figure_of_merit(measure, loss, metric) for loss, metric in pairs]
