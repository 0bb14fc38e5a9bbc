"""Intervals cover, corrections correct, equal scores differ in nothing, and divergence is not averaged in."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evoopt.compare.analysis import analyse, overall_ratio
from evoopt.compare.statistics import (
    ALPHA,
    holm,
    mean_interval,
    minimum_detectable_effect,
    paired_difference,
    signed_rank_test,
    smallest_p_value,
)
from evoopt.compare.verdict import seeds_needed, verdict, verdicts
from tests.compare.stubs import comparison_of


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_intervals_of_few_values_cover_the_mean_as_often_as_they_claim(n: int) -> None:
    rng = np.random.default_rng(1)
    repeats = 400
    hits = sum(low <= 0 <= high for low, high in (mean_interval(rng.normal(size=n)) for _ in range(repeats)))
    # 400 repeats at 95%: 3.1 standard deviations either way; a plain percentile interval covers about 90%.
    assert 0.916 <= hits / repeats <= 0.984


@pytest.mark.parametrize(("seeds", "tasks"), [(3, 1), (4, 2), (8, 1), (8, 2)])
def test_intervals_of_ratios_cover_them_as_often_as_they_claim(seeds: int, tasks: int) -> None:
    rng = np.random.default_rng(2)
    repeats, hits = 200, 0
    for _ in range(repeats):
        draw = lambda: (0.8 + 0.01 * rng.normal(size=seeds)).tolist()  # noqa: E731
        comparison = comparison_of({f"t{k}": {"x": draw(), "adam": draw()} for k in range(tasks)})
        _, low, high = overall_ratio(comparison, "x")
        hits += low <= 1 <= high
    assert 0.90 <= hits / repeats <= 0.995


def test_a_seed_on_which_somebody_diverged_is_in_no_ratio() -> None:
    comparison = comparison_of({"t": {"x": [math.nan, 0.9, 0.9], "adam": [0.1, 0.9, 0.9]}})
    assert analyse(comparison).row("t", "x").error_ratio == pytest.approx(1)
    assert overall_ratio(comparison, "x")[0] == pytest.approx(1)


def test_equal_differences_of_examples_tie_however_their_scores_round() -> None:
    wrong = np.array([1, 1, 3, 2, 1, 1, 1, 3, -1, 2, 2, -2])
    base = np.arange(20, 20 + len(wrong))
    a, b = (((360 - k) / np.float32(360)).astype(np.float64) for k in (base, base + wrong))
    assert len(set(np.abs(a - b))) > 3, "they do round differently"
    assert paired_difference(a, b).p_value == pytest.approx(signed_rank_test(wrong.astype(np.float64))[0])
    assert paired_difference([0.9, 0.8], [0.9 + 1e-8, 0.8]).p_value == 1


def test_exactly_equal_scores_differ_in_nothing() -> None:
    scores = [0.9, 0.91, 0.92] * 3
    d = paired_difference(scores, scores)
    assert (d.mean, d.low, d.high, d.spread, d.p_value, d.direction) == (0.0, 0.0, 0.0, 0.0, 1.0, 0)
    comparison = comparison_of({"t": {"x": scores, "adam": scores}})
    assert analyse(comparison).row("t", "x").finding == "no detectable difference"
    assert "no detectable difference from tuned adam on t" in verdict(comparison, analyse(comparison), "x")


@pytest.mark.parametrize("seed", range(5))
def test_the_signed_rank_test_agrees_with_scipy_with_and_without_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    free, tied = rng.normal(0.3, 1, 11), rng.integers(-2, 4, 9) / 360
    assert signed_rank_test(free)[0] == pytest.approx(stats.wilcoxon(free, method="exact").pvalue)
    moved = tied[tied != 0]
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(moved))).reshape(len(moved), -1).T
    sums = (signs * stats.rankdata(np.abs(moved))).sum(axis=1)
    own = float((np.sign(moved) * stats.rankdata(np.abs(moved))).sum())
    expected = min(1.0, 2 * min((sums <= own).mean(), (sums >= own).mean()))
    assert signed_rank_test(tied)[0] == pytest.approx(expected)


def test_a_difference_that_is_there_is_found_in_its_direction() -> None:
    base = np.random.default_rng(0).normal(0.9, 0.01, 12)
    better, worse = (paired_difference(base + shift, base) for shift in (0.02, -0.02))
    assert better.direction == 1
    assert worse.direction == -1
    assert better.p_value == pytest.approx(smallest_p_value(12))
    assert better.low == pytest.approx(0.02) == better.high


def test_differences_are_paired_by_seed() -> None:
    base = np.linspace(0.1, 0.9, 10)  # the seeds differ far more than the contenders
    d = paired_difference(base + 0.01 + 0.001 * np.sin(np.arange(10)), base)
    assert d.spread < 0.002
    assert d.low > 0
    with pytest.raises(ValueError, match="same seeds"):
        paired_difference([1.0, 2.0], [1.0])


def test_a_divergence_ranks_last_and_is_not_averaged_in() -> None:
    base = np.full(10, 0.9) + np.arange(10) * 1e-3
    diverging = base + 1e-3
    diverging[:8] = math.nan
    d = paired_difference(diverging, base)
    assert d.compared == 2
    assert d.mean == pytest.approx(1e-3)
    assert d.direction == -1
    assert d.p_value < ALPHA
    both = paired_difference([math.nan] * 4, [math.nan] * 4)
    assert both.p_value == 1.0
    assert math.isnan(both.mean)


def test_holm_steps_down_as_published() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))
    assert max(adjusted) <= 1.0
    order = sorted(range(len(p_values)), key=lambda k: p_values[k])
    assert all(adjusted[a] <= adjusted[b] for a, b in pairwise(order))


def test_the_detectable_effect_is_detected_with_the_power_it_states() -> None:
    effect = minimum_detectable_effect(spread=2.0, pairs=12)
    draws = np.random.default_rng(2).normal(effect, 2.0, size=(4000, 12))
    t_test = float((stats.ttest_1samp(draws, 0, axis=1).pvalue < ALPHA).mean())
    assert t_test == pytest.approx(0.8, abs=0.02)
    signed_rank = sum(signed_rank_test(row)[0] < ALPHA for row in draws[:600]) / 600
    assert signed_rank == pytest.approx(0.8, abs=0.07)


def test_the_detectable_effect_shrinks_with_seeds_and_is_infinite_where_no_test_can_reach() -> None:
    assert minimum_detectable_effect(1.0, 40) < minimum_detectable_effect(1.0, 10)
    assert math.isinf(minimum_detectable_effect(1.0, 5))  # five pairs give p >= 0.0625
    assert math.isinf(minimum_detectable_effect(1.0, 10, alpha=ALPHA / 30))
    assert math.isnan(minimum_detectable_effect(math.nan, 10))


@pytest.mark.parametrize("tests", [1, 4, 24, 30, 100])
def test_the_advised_number_of_seeds_is_the_smallest_that_can_show_anything(tests: int) -> None:
    seeds = seeds_needed(tests)
    assert smallest_p_value(seeds) * tests < ALPHA <= smallest_p_value(seeds - 1) * tests


def test_too_few_seeds_for_the_family_are_announced() -> None:
    base = [0.9, 0.91, 0.92]
    comparison = comparison_of({"t": {"x": [0.95, 0.96, 0.99], "adam": base}})
    analysis = analyse(comparison)
    assert not analysis.resolvable
    (sentence,) = verdicts(comparison, analysis)
    assert "too few seeds to show any difference from tuned adam" in sentence
    assert "need at least 6 --seeds" in sentence


@pytest.mark.parametrize("elsewhere", [0.02, -0.02])
def test_who_loses_to_its_control_on_any_task_does_not_beat_it(elsewhere: float) -> None:
    comparison = comparison_of(
        {
            task: {"x": [0.9 + gain] * 8, "tuned start of x": [0.9] * 8, "adam": [0.8] * 8}
            for task, gain in (("a", 0.02), ("b", elsewhere))
        }
    )
    told = "x does not beat tuned start of x: it has found constants, not a rule."
    assert (told in verdicts(comparison, analyse(comparison))) == (elsewhere < 0)


def test_tasks_are_normalised_before_they_are_averaged() -> None:
    easy = {"x": [0.99] * 6, "adam": [0.98] * 6}
    hard = {"x": [0.2] * 6, "adam": [0.6] * 6}
    overall = {o.name: o for o in analyse(comparison_of({"easy": easy, "hard": hard})).overall}
    # Half the error on one task and twice the error on the other cancel out; plain means would not.
    assert overall["x"].error_ratio == pytest.approx(1.0)
    assert overall["adam"].error_ratio == 1.0
