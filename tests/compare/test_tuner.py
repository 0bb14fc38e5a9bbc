"""Tuning is equally long for all, grows its grid at the edge, and keeps to the declared space."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest

from evoopt.compare.contender import OWN, Contender
from evoopt.compare.sources import contender
from evoopt.compare.space import GRID_FACTOR, Setting, TuningSpace
from evoopt.compare.tuner import Tuner
from evoopt.errors import EvooptError
from evoopt.training.plan import TrainingResult


def tune(who: Contender, metric: Callable[[Setting], float], trials: int = 24, points: int = 5) -> Tuner:
    tuner = Tuner(who, trials, points, steps=100, seed=0)
    while settings := tuner.ask():
        tuner.tell([[result(metric(setting))] * 2 for setting in settings])
    return tuner


def result(metric: float) -> TrainingResult:
    if math.isnan(metric):
        return TrainingResult.unsuccessful("diverged", "loss is nan")
    return TrainingResult("ok", "", 100, 1 - metric, 1 - metric, metric, 0.0)


def peak(lr: float) -> Callable[[Setting], float]:
    return lambda setting: 1 - 0.01 * abs(math.log(setting.lr / lr))


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "nadam", "rmsprop", "lion", "marfinetz2025"])
@pytest.mark.parametrize("lr", [1e-7, 1e-3, 10.0])
def test_every_contender_spends_exactly_its_trials(name: str, lr: float) -> None:
    assert len(tune(contender(name), peak(lr)).trials) == 24


@pytest.mark.parametrize(("lr", "direction"), [(1e-6, -1), (1.0, 1)])
def test_a_best_rate_on_the_edge_extends_the_grid_until_it_is_inside(lr: float, direction: int) -> None:
    tuner = tune(contender("adam"), peak(lr))
    extensions = [t for t in tuner.trials if t.stage == "extension"]
    assert extensions
    assert tuner.best.setting.lr == pytest.approx(lr, rel=GRID_FACTOR)
    assert not tuner.at_edge
    for schedule in ("constant", "warmup_cosine"):
        steps = [t.setting.lr for t in extensions if t.setting.schedule == schedule]
        assert all((b / a) ** direction > 1 for a, b in pairwise(steps))


def test_every_schedule_is_followed_to_its_best_rate() -> None:
    """Half the rate on average, a decaying schedule trails a constant one far below the best rate."""

    def metric(setting: Setting) -> float:
        decays = setting.schedule == "warmup_cosine"
        return (0.9 if decays else 0.7) - 0.2 * abs(math.log10(setting.lr / (0.4 if decays else 0.02)))

    tuner = tune(contender("adam"), metric)
    grid = min((t for t in tuner.trials if t.stage == "grid"), key=lambda t: t.rank)
    assert metric(Setting("constant", (("lr", 0.01),))) > metric(Setting("warmup_cosine", (("lr", 0.01),)))
    assert grid.setting.schedule == "constant"
    assert tuner.best.setting.schedule == "warmup_cosine"
    assert tuner.best.setting.lr == pytest.approx(0.4, rel=GRID_FACTOR)


def test_a_best_rate_inside_the_grid_is_refined_within_one_grid_step_and_the_declared_ranges() -> None:
    who = contender("adamw")
    tuner = tune(who, peak(2e-3))
    refined = [t.setting for t in tuner.trials if t.stage == "refinement"]
    assert len(refined) == 24 - 10
    best = min((t for t in tuner.trials if t.stage == "grid"), key=lambda t: t.rank).setting
    for setting in refined:
        values = dict(setting.values)
        assert best.lr / GRID_FACTOR <= values.pop("lr") <= best.lr * GRID_FACTOR
        assert set(values) == set(who.space.ranges)
        assert all(low <= values[name] <= high for name, (low, high) in who.space.ranges.items())
    assert len({s.values for s in refined}) == len(refined)


def test_trials_where_everything_diverges_move_to_smaller_rates_and_never_win() -> None:
    always = tune(contender("adam"), lambda setting: math.nan)
    assert min(t.setting.lr for t in always.trials) < 1e-3 / GRID_FACTOR**2
    mostly = tune(contender("adam"), lambda setting: math.nan if setting.lr > 4e-4 else 0.1)
    assert mostly.best.metric == 0.1
    assert mostly.best.setting.lr < 4e-4


def test_one_lost_seed_counts_more_than_a_higher_metric() -> None:
    tuner = Tuner(contender("adam"), 6, 3, steps=100, seed=0)
    asked = tuner.ask()
    good, lost = result(0.5), result(math.nan)
    tuner.tell([[result(0.99), lost]] + [[good, good]] * (len(asked) - 1))
    assert tuner.best.metric == 0.5


def test_a_rule_with_its_own_schedule_is_tried_under_it_and_under_the_common_ones() -> None:
    tuner = tune(contender("marfinetz2025"), peak(1e-3))
    assert {t.setting.schedule for t in tuner.trials if t.stage == "grid"} == {
        "constant",
        "warmup_cosine",
        OWN,
    }
    assert contender("adam").schedules_for(100) == ("constant", "warmup_cosine")
    # At 1000 steps the published schedule is the common one, and trying it twice would waste trials.
    assert contender("marfinetz2025").schedules_for(1000) == ("constant", "warmup_cosine")


def test_the_same_seed_asks_for_the_same_settings() -> None:
    first, second = (tune(contender("adamw"), peak(1e-3)) for _ in range(2))
    assert [t.setting for t in first.trials] == [t.setting for t in second.trials]


@pytest.mark.parametrize("bad", [{"beta1": (0.5, 1.0)}, {"weight_decay": (0.0, 1.0)}, {"beta2": (0.99, 0.9)}])
def test_ranges_outside_their_scale_are_refused(bad: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(EvooptError, match="tuning range"):
        TuningSpace(1e-3, bad)
