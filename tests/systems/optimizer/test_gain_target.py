"""What a gain compares: the score, the steps to the baseline's training loss, or the mean of that loss."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoopt.api import search
from evoopt.config import load_space
from evoopt.jobs.records import Evaluation
from evoopt.runs.run import Run
from evoopt.systems.optimizer.gain_target import part_until
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.scores import Gains
from evoopt.training.plan import CURVE_PARTS, TrainingResult

LOSSES = st.lists(st.floats(0.0, 10.0), min_size=2, max_size=20)


def row(curve: tuple[float, ...], replicate: int = 0) -> Evaluation:
    result = TrainingResult("ok", "", 10, 0.0, 0.0, 0.5, 0.0, curve=curve)
    return Evaluation(0, 0, 0, "k", "digits", replicate, 0, 0, "batched", result)


def test_a_curve_is_the_means_of_equal_parts() -> None:
    of = TrainingResult("ok", "", 50, 0.0, 0.0, 0.5, 0.0, losses=tuple(map(float, range(50)))).with_curve()
    assert of.losses == ()
    assert len(of.curve) == CURVE_PARTS
    assert of.curve[:2] == (0.5, 3.0)
    assert sum(of.curve) / CURVE_PARTS == pytest.approx(24.5, abs=0.5)
    short = TrainingResult("ok", "", 3, 0.0, 0.0, 0.5, 0.0, losses=(3.0, 2.0, 1.0)).with_curve()
    assert short.curve == (3.0, 2.0, 1.0)


def test_the_part_of_a_training_is_interpolated_between_the_middles_of_parts() -> None:
    assert part_until([4.0, 3.0, 2.0, 1.0], 4.0, 1.0) == 1.0
    assert part_until([4.0, 3.0, 2.0, 1.0], 4.0, 1.5) == pytest.approx(3.0 / 3.5)
    assert part_until([1.0, 1.0], 4.0, 2.0) == pytest.approx((2.0 / 3.0 - 0.5) / 1.5)
    assert part_until([4.0, 3.0], 4.0, 2.0) == 1.5, "half the way is missing"


@given(LOSSES, LOSSES, st.floats(0.0, 10.0), st.floats(0.0, 10.0))
def test_a_miss_is_worse_than_any_hit(
    one: list[float], other: list[float], start: float, level: float
) -> None:
    parts = sorted((part_until(c, start, level), min(c) > level) for c in (one, other))
    assert parts[0][1] <= parts[1][1]
    assert all((part > 1) == missed or part == pytest.approx(1) for part, missed in parts)


def test_a_gain_of_errors_is_the_logarithm_of_their_ratio() -> None:
    def scored(metric: float, replicate: int) -> Evaluation:
        return replace(row((1.0,), replicate), result=replace(row((1.0,)).result, metric=metric))

    gains = Gains([scored(0.5, 0), scored(0.9, 1)], "error")
    assert gains(scored(0.75, 0)) == pytest.approx(math.log(2))
    assert gains(scored(0.8, 1)) == pytest.approx(-math.log(2))
    assert gains(scored(1.0, 1)) == pytest.approx(math.log(100)), "a tenth of a point is the least error"


def test_who_comes_down_sooner_gains_by_either_target() -> None:
    baseline = [row((4.0, 3.0, 2.0 + k / 10), k) for k in range(3)]
    for target in ("steps", "area"):
        gains = Gains(baseline, target)
        assert gains(baseline[1]) == 0.0
        assert gains(row((3.0, 2.0, 1.0), 1)) > 0 > gains(row((4.0, 4.0, 3.0), 1))


@pytest.mark.parametrize("target", ["error", "steps", "area"])
def test_a_search_judges_by_its_target_and_keeps_the_curves(target: str, tmp_path: Path) -> None:
    settings = load_space("quick").override(
        {
            "search": {"population": 4, "generations": 2, "finalists": 2, "compare": False},
            "evaluation": {
                "tasks": ["digits"], "meta_tasks": ["wine"], "steps": 40, "target": target,
                "baseline_trials": 6, "rate_reach": 0,
            },
            "execution": {"executor": "serial"},
        }
    )  # fmt: skip
    search(settings, out=tmp_path / "run")
    with Run(tmp_path / "run") as run:
        rows = [row for row in run.store.evaluations() if row.result.outcome == "ok"]
        parts = 0 if target == "error" else CURVE_PARTS
        assert all(len(row.result.curve) == min(parts, row.result.steps) for row in rows)
        baseline = [row for row in rows if row.generation == -1 and row.task == "digits"]
        gains = Gains(baseline, target)  # type: ignore[arg-type]
        assert all(gains(row) == 0.0 for row in baseline)
        winner = run.store.winner()
        assert winner is not None
        key = OptimizerGenome.from_json(winner["genome"]).key
        own = [row for row in rows if row.key == key and (row.task, row.repeat) == ("digits", 0)]
        own = [gains(row) for row in own if row.replicate < winner["search_replicates"]]
        assert winner["search_fitness"] == pytest.approx(sum(own) / len(own))
