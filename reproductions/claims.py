"""What a publication claims, and what seeds say about it: one rule for every reproduction."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from evoopt.compare.statistics import PairedDifference, paired_difference, students_margin
from reproductions.markdown import table
from reproductions.results import PartResult

Part = TypeVar("Part", bound=PartResult)

FEWEST = 3
"""Pairs below which there is no verdict.

Student's t finds a difference between equals in 5 % of normal samples of any size. But accuracies on a few
hundred examples move on a grid, so that two differences are often the same and their interval has no width:
on 360 examples it excludes 0 for up to 12 % of equals. From three pairs on that is 5 % at most.
"""

HOLDS, OPPOSITE, UNDECIDED, TOO_FEW, DIVERGED = (
    "holds", "the opposite holds", "no detectable difference", "too few for a verdict",
    "no verdict, as some diverged or failed",
)  # fmt: skip

RULE = (
    "A claim holds, or its opposite does, where the 95 % interval (Student's t) of the difference, paired by "
    f"seed, excludes 0; there is no verdict below {FEWEST} pairs, or where one of a pair diverged or failed. "
    "Few seeds detect only large differences, and one in 20 comparisons of equals shows one by chance."
)


@dataclass(frozen=True)
class Finding:
    """How much higher one method scores than another, paired by seed.

    Attributes:
        difference: Its mean, with Student's interval: a bootstrap cannot look beyond the few seeds there are.
        higher: In how many pairs the first is higher.
    """

    difference: PairedDifference
    higher: int

    @property
    def verdict(self) -> str:
        """What the interval says about "the first is higher"."""
        d = self.difference
        if d.compared < FEWEST:
            return TOO_FEW
        if d.compared < d.pairs:  # whoever is left was chosen by how it went
            return DIVERGED
        return HOLDS if d.low > 0 else OPPOSITE if d.high < 0 else UNDECIDED

    @property
    def detected(self) -> bool:
        """Whether there is a difference, either way."""
        return self.verdict in (HOLDS, OPPOSITE)

    def told(self, factor: float = 100, digits: int = 2, unit: str = "") -> str:
        """The mean with its interval, e.g. ``+0.60 (-2.47 to +3.67)``; a dash without a number."""
        mean, low, high = (f"{factor * v:+,.{digits}f}" for v in self._numbers)
        if not math.isfinite(self.difference.mean):
            return "-"
        d = self.difference
        lost = f", {d.compared} of {d.pairs} pairs" if d.compared < d.pairs else ""
        return mean + unit + (f" ({low} to {high})" if math.isfinite(d.low) else "") + lost

    def scaled(self, factor: float) -> Finding:
        """The same in another unit; the factor is above 0."""
        numbers = {
            name: factor * getattr(self.difference, name) for name in ("mean", "low", "high", "spread")
        }
        return replace(self, difference=replace(self.difference, **numbers))

    @property
    def _numbers(self) -> tuple[float, float, float]:
        return self.difference.mean, self.difference.low, self.difference.high


def compare(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Finding | None:
    """Compare scores by seed, NaN or no entry for what diverged or failed; None without a common seed."""
    if not ours.keys() & theirs.keys():
        return None
    pairs = [(ours.get(seed, math.nan), theirs.get(seed, math.nan)) for seed in sorted({*ours, *theirs})]
    d = paired_difference(*zip(*pairs, strict=True))
    if d.compared > 1:
        margin = students_margin(d.spread, d.compared)
        d = replace(d, low=d.mean - margin, high=d.mean + margin)
    return Finding(d, sum(a > b for a, b in pairs))


def from_zero(values: Sequence[float]) -> Finding | None:
    """Whether values are above 0."""
    return compare(dict(enumerate(values)), dict.fromkeys(range(len(values)), 0.0))


@dataclass(frozen=True)
class Claim:
    """A statement that subjects are better than rivals.

    Attributes:
        text: What is said of a subject; ``{rival}`` stands for the rival.
        source: Where it comes from.
        subjects: Methods it is said of.
        rivals: Methods they are held against.
        key: Score it is about.
        parts: Parts it is about; all by default.
    """

    text: str
    source: str
    subjects: tuple[str, ...]
    rivals: tuple[str, ...]
    key: str = "test_accuracy"
    parts: tuple[str, ...] | None = None


Judge = Callable[[Part, Claim, str, str], str | None]
"""What comes of a claim on a part, given subject and rival; None where one of them is missing."""


def claims_table(
    claims: Iterable[Claim], parts: Sequence[Part], names: Mapping[str, str], judge: Judge[Part]
) -> list[str]:
    """A row for each claim, subject and rival there are results for, a column for each part."""
    rows = []
    for claim in claims:
        about = [part for part in parts if claim.parts is None or part.name in claim.parts]
        for subject in claim.subjects:
            for rival in claim.rivals:
                found = {part.name: judge(part, claim, subject, rival) for part in about}
                if any(found.values()):
                    title = f"{names[subject]}: {claim.text.format(rival=names[rival])} ({claim.source})"
                    rows.append([title, *(found.get(part.name) or "-" for part in parts)])
    return table(["claim", *(part.name for part in parts)], rows)


def bold(finding: Finding, told: str) -> str:
    """Verdict and numbers as the cell of a table."""
    return f"**{finding.verdict}**, {told}"
