"""A claim holds only where an interval over seeds says so."""

from __future__ import annotations

import math
from typing import Any

import pytest
from scipy import stats

from reproductions.gadam.budget import PARTS
from reproductions.gadam.claims import CLAIMS, find, judged
from reproductions.gadam.published import NOT_RUN, PUBLISHED
from reproductions.gadam.results import ROWS, PartResult


def part(**accuracies: tuple[float, ...]) -> PartResult:
    rows = {
        row: {seed: {"test_accuracy": value} for seed, value in enumerate(values)}
        for row, values in accuracies.items()
    }
    return PartResult("yeast", PARTS["yeast"].small, rows, {}, 0.0)


@pytest.mark.parametrize(
    ("gadam", "verdict"),
    [
        ((0.93, 0.94, 0.92), "holds"),
        ((0.86, 0.87, 0.865), "reversed"),
        ((0.91, 0.90, 0.92), "undecided"),
        ((0.93,), "one seed"),
    ],
)
def test_the_verdict_follows_the_interval(gadam: tuple[float, ...], verdict: str) -> None:
    finding = find(part(gadam=gadam, adam=(0.90, 0.91, 0.90)), "gadam", "adam")
    assert finding is not None
    assert finding.verdict == verdict


def test_the_interval_is_students() -> None:
    finding = find(part(gadam=(0.5, 0.6, 0.8), adam=(0.4, 0.4, 0.4)), "gadam", "adam")
    assert finding is not None
    low, high = stats.ttest_1samp([0.1, 0.2, 0.4], 0).confidence_interval(0.95)
    assert (finding.difference.low, finding.difference.high) == pytest.approx((low, high))


def test_a_method_without_seeds_meets_every_seed() -> None:
    finding = find(part(gadam=(0.9, 0.92, 0.91), svm=(0.8,)), "gadam", "svm")
    assert finding is not None
    assert finding.difference.mean == pytest.approx(0.11)
    assert find(part(gadam=(0.9,)), "gadam", "svm") is None


def test_a_divergence_is_no_number() -> None:
    rows: dict[str, Any] = {"gadam": {0: {"test_accuracy": 0.9}}, "adam": {0: {"diverged": True}}}
    finding = find(PartResult("yeast", PARTS["yeast"].small, rows, {}, 0.0), "gadam", "adam")
    assert finding is not None
    assert math.isnan(finding.difference.mean)
    assert finding.points == "-"


def test_findings_are_sorted_by_verdict() -> None:
    results = [part(gadam=(0.93, 0.94, 0.92), adam=(0.90, 0.91, 0.90))]
    found = judged(CLAIMS[0], results, "gadam")
    assert [(verdict, [f.rival for f in own]) for verdict, own in found.items()] == [("holds", ["adam"])]


def test_published_numbers_belong_to_rows_and_claim_what_the_paper_claims() -> None:
    for name, numbers in PUBLISHED.items():
        assert name in PARTS
        assert set(numbers) <= set(ROWS) | set(NOT_RUN)
        assert numbers["gadam_paper"].accuracy > numbers["adam"].accuracy
    losses = {row: number.loss for row, number in PUBLISHED["mnist"].items() if number.loss is not None}
    assert min(losses, key=losses.__getitem__) == "gadam_paper"
    assert len(losses) == 6
