"""The model behind the projections of docs/scaling.md."""

from __future__ import annotations

import pytest

from benchmarks.scaling import Measured, generation_seconds, project


def test_without_overhead_the_work_divides_among_workers() -> None:
    assert generation_seconds(1, 12, [2.0], 0.0, 0.0) == pytest.approx(24.0)
    assert generation_seconds(4, 12, [2.0], 0.0, 0.0) == pytest.approx(6.0)
    assert generation_seconds(1000, 12, [2.0], 0.0, 0.0) == pytest.approx(2.0)


def test_a_leader_that_hands_out_one_after_the_other_bounds_the_speed() -> None:
    assert generation_seconds(1000, 500, [0.001], 0.01, 0.0) == pytest.approx(4.99 + 0.001 + 0.01)


def test_work_that_nobody_else_does_is_added() -> None:
    assert generation_seconds(4, 12, [2.0], 0.0, 1.5) == pytest.approx(7.5)


def test_efficiency_is_the_speed_up_per_worker() -> None:
    measured = Measured("process", 0.0, 0.0, {1: 1.0, 2: 0.5}, [1.0])
    for row in project(measured, 1000, 12, 1.0, 0.0):
        assert row["speed_up"] == pytest.approx(min(row["workers"], 1000))
        assert row["efficiency"] == pytest.approx(1.0)
