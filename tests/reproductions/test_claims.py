"""A claim holds only where an interval over seeds says so, by one rule for every publication."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from reproductions.claims import Claim, Finding, bold, claims_table, compare, from_zero
from reproductions.results import PartResult

NAMES = {"ours": "our method", "theirs": "the rival", "other": "another"}


def finding(ours: tuple[float, ...], theirs: tuple[float, ...] = (0.90, 0.91, 0.90, 0.91)) -> Finding:
    found = compare(dict(enumerate(ours)), dict(enumerate(theirs[: len(ours)])))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        ((0.93, 0.94, 0.92), "holds"),
        ((0.86, 0.87, 0.865), "the opposite holds"),
        ((0.91, 0.90, 0.92), "no detectable difference"),
        ((0.93, 0.94), "too few for a verdict"),
        ((0.93,), "too few for a verdict"),
        ((0.93, 0.94, math.nan), "too few for a verdict"),
        ((0.93, 0.94, 0.92, math.nan), "no verdict, as some diverged or failed"),
    ],
)
def test_the_verdict_follows_the_interval_and_wants_three_pairs(
    ours: tuple[float, ...], verdict: str
) -> None:
    assert finding(ours).verdict == verdict
    assert finding(ours).detected == ("holds" in verdict)


def test_the_interval_is_students() -> None:
    d = finding((0.5, 0.6, 0.8), (0.4, 0.4, 0.4)).difference
    expected = stats.ttest_1samp([0.1, 0.2, 0.4], 0).confidence_interval(0.95)
    assert (d.low, d.high) == pytest.approx(tuple(expected))


def test_few_seeds_that_agree_do_not_make_a_verdict() -> None:
    found = finding((0.5, 0.6), (0.4, 0.3))
    assert found.higher == 2
    # t(0.975, 1) = 12.706, standard error 0.1
    assert found.told(1, 4) == "+0.2000 (-1.0706 to +1.4706)"


def test_a_seed_that_one_has_not_is_a_failure() -> None:
    found = compare({0: 0.5, 1: 0.6}, {1: 0.4, 2: 0.3})
    assert found is not None
    assert (found.difference.pairs, found.higher, found.told()) == (3, 1, "+20.00, 1 of 3 pairs")
    survived = compare(dict(enumerate((0.93, 0.94, 0.92, 0.5))), dict(enumerate((0.9, 0.9, 0.9))))
    assert survived is not None
    assert survived.verdict == "no verdict, as some diverged or failed"
    assert compare({0: 0.5}, {1: 0.4}) is None


def test_a_divergence_is_no_number() -> None:
    found = finding((math.nan,), (0.9,))
    assert math.isnan(found.difference.mean)
    assert (found.told(), found.higher) == ("-", 0)


def test_values_are_held_against_zero() -> None:
    found = from_zero([-2.0, -2.1, -1.9])
    assert found is not None
    assert (found.verdict, from_zero([])) == ("the opposite holds", None)


def test_a_table_of_claims_has_a_row_for_whoever_is_there() -> None:
    def judge(part: PartResult, claim: Claim, subject: str, rival: str) -> str | None:
        found = compare(part.column(subject, claim.key), part.column(rival, claim.key))
        return None if found is None else bold(found, found.told())

    def part(name: str, *rows: str) -> PartResult:
        scores = {"ours": (0.93, 0.94, 0.92), "theirs": (0.90, 0.91, 0.90)}
        own = {row: {k: {"test_accuracy": v} for k, v in enumerate(scores[row])} for row in rows}
        return PartResult(name, None, own)

    claims = [
        Claim("better than {rival}", "table 1", ("ours",), ("theirs", "other")),
        Claim("far better than {rival}", "text", ("ours",), ("theirs",), parts=("second",)),
    ]
    assert claims_table(claims, [part("first", "ours", "theirs"), part("second", "ours")], NAMES, judge) == [
        "| claim | first | second |",
        "|---|---|---|",
        "| our method: better than the rival (table 1) | **holds**, +2.67 (+1.23 to +4.10) | - |",
    ]
