"""Learning curves, steps to a target and performance profiles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoopt.compare.speed import (
    CURVE_POINTS,
    performance_profile,
    profile_score,
    smooth_curve,
    smoothing_window,
    speeds,
    steps_to_target,
    stride,
)


@pytest.mark.parametrize("steps", [1, 19, 200, 201, 1000])
def test_a_curve_is_the_trailing_mean_at_every_stride(steps: int) -> None:
    losses = np.random.default_rng(steps).random(steps)
    curve = smooth_curve(losses.tolist(), steps)
    assert len(curve) == steps // stride(steps) <= CURVE_POINTS
    last = len(curve) * stride(steps)
    window = losses[max(0, last - smoothing_window(steps)) : last]
    assert curve[-1] == pytest.approx(window.mean())
    assert smooth_curve([], steps) == ()


def test_steps_to_target_counts_steps_not_points() -> None:
    curve = smooth_curve(np.linspace(2, 1, 1000).tolist(), 1000)
    assert steps_to_target(curve, 10.0, 1000) == stride(1000) == 5
    assert math.isinf(steps_to_target(curve, 0.5, 1000))
    assert 500 < steps_to_target(curve, 1.5, 1000) < 560


@given(st.lists(st.lists(st.floats(0.1, 10), min_size=5, max_size=5), min_size=1, max_size=4))
def test_the_reference_reaches_its_own_target_on_every_seed(curves: list[list[float]]) -> None:
    times = speeds({"adam": curves, "x": [[20.0] * 5] * len(curves)}, "adam", 5)
    assert all(math.isfinite(t) for t in times["adam"])
    assert all(math.isinf(t) for t in times["x"])


def test_targets_of_losses_below_zero_are_reached_too() -> None:
    found = speeds({"adam": [[-1.0, -2.0, -3.0]], "x": [[-1.0, -2.5, -2.9]]}, "adam", 30)
    assert all(math.isfinite(steps) for rows in found.values() for steps in rows)


def test_a_seed_without_a_reference_counts_for_nobody_and_a_diverged_contender_is_not_there() -> None:
    times = speeds({"adam": [[1.0], []], "x": [[], [1.0]]}, "adam", 1)
    assert times == {"adam": [1.0], "x": [math.inf]}


def test_profiles_count_problems_within_a_factor_of_the_fastest() -> None:
    times = {"a": [10.0, 10.0, math.inf], "b": [20.0, 5.0, math.inf]}
    profile = performance_profile(times, np.array([1.0, 1.9, 2.0, 4.0]))
    assert profile["a"] == pytest.approx(
        [1 / 3, 1 / 3, 2 / 3, 2 / 3]
    )  # the unsolved problem counts against both
    assert profile["b"] == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert profile_score({"a": [1.0, 2.0], "b": [math.inf, math.inf]}) == {"a": pytest.approx(1.0), "b": 0.0}
