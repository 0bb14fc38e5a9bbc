"""Which rows meet, and that published numbers belong to rows and say what the paper says."""

from __future__ import annotations

import pytest

from reproductions.gadam.budget import PARTS
from reproductions.gadam.figures_text import rank_correlation
from reproductions.gadam.published import NOT_RUN, PUBLISHED
from reproductions.gadam.results import ROWS, TableResult


def part(**accuracies: tuple[float, ...]) -> TableResult:
    rows = {
        row: {seed: {"test_accuracy": value} for seed, value in enumerate(values)}
        for row, values in accuracies.items()
    }
    return TableResult("yeast", PARTS["yeast"].small, rows, {}, 0.0)


def test_the_score_of_a_method_without_randomness_meets_every_seed() -> None:
    finding = part(gadam=(0.9, 0.92, 0.91), svm=(0.8,)).find("gadam", "svm")
    assert finding is not None
    assert finding.difference.mean == pytest.approx(0.11)
    assert part(gadam=(0.9,)).find("gadam", "svm") is None


def test_a_single_seed_that_is_left_of_several_meets_its_own_only() -> None:
    finding = part(gadam=(0.9, 0.92, 0.91), adam=(0.8,)).find("gadam", "adam")
    assert finding is not None
    assert (finding.difference.pairs, finding.difference.compared) == (3, 1)


def test_published_numbers_belong_to_rows_and_claim_what_the_paper_claims() -> None:
    for name, numbers in PUBLISHED.items():
        assert name in PARTS
        assert set(numbers) <= set(ROWS) | set(NOT_RUN)
        assert numbers["gadam_paper"].accuracy > numbers["adam"].accuracy
    losses = {row: number.loss for row, number in PUBLISHED["mnist"].items() if number.loss is not None}
    assert min(losses, key=losses.__getitem__) == "gadam_paper"
    assert len(losses) == 6


@pytest.mark.parametrize(
    ("y", "rho", "p"),
    [((1, 2, 3), 1.0, 2 / 6), ((1, 2, 3, 5, 4), 0.9, 10 / 120), ((2, 2, 2.5), 0.866, 2 / 3)],
)
def test_a_rank_correlation_is_tested_by_all_orders(y: tuple[float, ...], rho: float, p: float) -> None:
    assert rank_correlation(range(len(y)), y) == pytest.approx((rho, p), abs=1e-3)
