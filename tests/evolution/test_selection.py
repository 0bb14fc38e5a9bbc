"""Who is chosen, how often."""

from __future__ import annotations

import random

import numpy as np
import pytest

from evoopt.errors import EvooptError
from evoopt.evolution.selection import (
    SELECTIONS,
    Scores,
    best_first,
    get_selection,
    roulette,
    scan,
    shares,
    tournament,
)

FITNESS = np.array([0.1, 0.4, 0.25, 0.0, 0.25])
DRAWS = 40_000


def scan_probabilities(fitness: Scores) -> Scores:
    """With which probability `scan` chooses each, by its formula."""
    order = best_first(fitness)
    ranked = shares(fitness)[order]
    passed_by = np.concatenate([[1.0], np.cumprod(1 - ranked)[:-1]])
    found = np.empty_like(ranked)
    found[order] = ranked * passed_by / (ranked * passed_by).sum()
    return found


def frequencies(select: str, fitness: np.ndarray) -> np.ndarray:
    chosen = SELECTIONS[select](fitness, DRAWS, np.random.default_rng(1))
    assert len(chosen) == DRAWS
    return np.bincount(chosen, minlength=len(fitness)) / DRAWS


def test_scan_follows_its_closed_form() -> None:
    expected = scan_probabilities(FITNESS)
    assert expected[[1, 2, 4]] == pytest.approx(np.array([0.4, 0.15, 0.1125]) / (0.6625 + 0.03375), rel=1e-9)
    assert frequencies("scan", FITNESS) == pytest.approx(expected, abs=0.01)


def test_scan_prefers_the_top_of_the_table_unlike_a_roulette() -> None:
    equal = scan_probabilities(np.full(100, 0.1))
    assert equal[0] / equal[-1] == pytest.approx(2.70, abs=0.01)
    accuracies = np.linspace(0.15, 0.05, 100)
    assert scan_probabilities(accuracies)[:10].sum() > 1.4 * shares(accuracies)[:10].sum()


def test_roulette_is_proportional() -> None:
    assert frequencies("roulette", FITNESS) == pytest.approx(FITNESS, abs=0.01)


def test_tournaments_choose_the_best_of_three() -> None:
    expected = np.diff([0, 1, 8, 27, 64, 125])[[1, 4, 2, 0, 3]] / 125
    assert frequencies("tournament", FITNESS + np.eye(5)[4] / 100) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("name", SELECTIONS)
def test_everybody_is_equally_likely_if_nobody_is_fit(name: str) -> None:
    assert frequencies(name, np.zeros(4)) == pytest.approx(
        scan_probabilities(np.zeros(4)) if name == "scan" else np.full(4, 0.25), abs=0.01
    )


@pytest.mark.parametrize("name", SELECTIONS)
def test_individuals_without_fitness_are_not_chosen(name: str) -> None:
    found = frequencies(name, np.array([np.nan, 0.2, 0.3, np.nan]))
    allowed = (2 / 4) ** 3 if name == "tournament" else 0.0
    assert found[[0, 3]].sum() == pytest.approx(allowed, abs=0.01)


@pytest.mark.parametrize("name", SELECTIONS)
def test_choices_follow_from_the_stream_and_leave_the_global_one_alone(name: str) -> None:
    before = random.getstate()
    first, second = (SELECTIONS[name](FITNESS, 20, np.random.default_rng(5)) for _ in range(2))
    assert first == second
    assert random.getstate() == before
    assert first != SELECTIONS[name](FITNESS, 20, np.random.default_rng(6))


@pytest.mark.parametrize("select", [scan, roulette])
def test_negative_fitness_has_no_proportions(select: object) -> None:
    with pytest.raises(EvooptError, match="use 'tournament'"):
        select(np.array([-0.1, 0.5]), 1, np.random.default_rng(0))  # type: ignore[operator]
    assert tournament(np.array([-0.1, -0.5]), 5, np.random.default_rng(0)).count(0) >= 3


def test_ranking_puts_earlier_ones_first_among_equals_and_nan_last() -> None:
    assert best_first(np.array([0.1, np.nan, 0.4, 0.1])).tolist() == [2, 0, 3, 1]


def test_an_unknown_selection_is_named() -> None:
    with pytest.raises(EvooptError, match="unknown selection 'roulete'"):
        get_selection("roulete")
