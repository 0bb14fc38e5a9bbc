"""Which claims hold at the budget given: GADAM against each rival, paired by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scipy import stats

from evoopt.compare.statistics import ALPHA, PairedDifference, paired_difference
from reproductions.gadam.results import PartResult

EQUAL_COMPUTE = ("adam_long", "adam_tuned", "adam_best", "adam_ensemble")
_SAYING = {
    "holds": "holds",
    "reversed": "the opposite holds",
    "undecided": "no detectable difference",
    "one seed": "one seed, no interval",
}


@dataclass(frozen=True)
class Claim:
    """A statement that GADAM's test accuracy is higher than its rivals'.

    Attributes:
        text: The statement.
        source: Where it comes from.
        rivals: Rows it is about.
        subjects: Rows of GADAM it is asked of.
    """

    text: str
    source: str
    rivals: tuple[str, ...]
    subjects: tuple[str, ...] = ("gadam_paper", "gadam")


CLAIMS = (
    Claim("better than Adam with the steps of a lineage", "the paper's tables 1, 3 and 4", ("adam",)),
    Claim(
        "better than SGD, RMSprop, Adagrad and Adadelta",
        "the paper's table 1",
        ("sgd", "rmsprop", "adagrad", "adadelta"),
    ),
    Claim(
        "better than random forest, SVM and nearest neighbours",
        "the paper's tables 1, 3 and 4",
        ("random_forest", "svm", "knn"),
    ),
    Claim("better than Adam that gets as much computing", "not examined in the paper", EQUAL_COMPUTE),
    Claim(
        "better than with fresh random children instead of inheriting ones",
        "implied by the paper's figure 2",
        ("gadam_reinitialised",),
        ("gadam",),
    ),
)


@dataclass(frozen=True)
class Finding:
    """One subject against one rival on one part.

    Attributes:
        difference: Of test accuracies, by seed.
        verdict: ``"holds"``, ``"reversed"``, ``"undecided"`` or ``"one seed"``.
    """

    part: str
    subject: str
    rival: str
    difference: PairedDifference
    verdict: str

    @property
    def points(self) -> str:
        """Difference in points of accuracy with its interval."""
        d = self.difference
        if not math.isfinite(d.mean):
            return "-"
        interval = f" ({100 * d.low:+.2f} to {100 * d.high:+.2f})" if math.isfinite(d.low) else ""
        return f"{100 * d.mean:+.2f}{interval}"


def find(result: PartResult, subject: str, rival: str) -> Finding | None:
    """Compare two rows of a part; None if one is missing. A method without seeds meets every seed."""
    ours, theirs = result.accuracies(subject), result.accuracies(rival)
    if not ours or not theirs:
        return None
    if len(theirs) == 1 < len(ours):
        theirs = dict.fromkeys(ours, next(iter(theirs.values())))
    common = [seed for seed in ours if seed in theirs]
    if not common:
        return None
    d = _by_student(paired_difference([ours[s] for s in common], [theirs[s] for s in common]))
    if not math.isfinite(d.low):
        verdict = "one seed"
    elif d.low > 0:
        verdict = "holds"
    else:
        verdict = "reversed" if d.high < 0 else "undecided"
    return Finding(result.name, subject, rival, d, verdict)


def _by_student(d: PairedDifference) -> PairedDifference:
    """The same with Student's interval: a bootstrap cannot look beyond the few seeds there are."""
    if d.compared < 2:
        return d
    margin = float(stats.t.ppf(1 - ALPHA / 2, d.compared - 1)) * d.spread / math.sqrt(d.compared)
    return replace(d, low=d.mean - margin, high=d.mean + margin)


def judged(claim: Claim, results: Sequence[PartResult], subject: str) -> Mapping[str, list[Finding]]:
    """Findings about a claim by verdict."""
    found = [find(result, subject, rival) for result in results for rival in claim.rivals]
    sorted_: dict[str, list[Finding]] = {}
    for finding in found:
        if finding is not None:
            sorted_.setdefault(finding.verdict, []).append(finding)
    return {verdict: sorted_[verdict] for verdict in _SAYING if verdict in sorted_}


def saying(verdict: str) -> str:
    """A verdict in words."""
    return _SAYING[verdict]
