"""Tuning is equally long for all, grows its grid at the edge, and keeps to the declared space."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoopt.compare.contender import OWN, Contender
from evoopt.compare.sources import contender
from evoopt.compare.space import LR_REACH, Setting, TuningSpace, rule_space
from evoopt.compare.tuner import Tuner
from evoopt.errors import EvooptError
from evoopt.optim import preset
from evoopt.training.plan import TrainingResult


def tune(who: Contender, metric: Callable[[Setting], float], trials: int = 24) -> Tuner:
    tuner = Tuner(who, trials, steps=100, seed=(0,))
    while settings := tuner.ask():
        tuner.tell([[result(metric(setting))] * 2 for setting in settings])
    tuner.tell_again([[result(metric(setting))] * 4 for setting in tuner.ask_again()])
    return tuner


def result(metric: float) -> TrainingResult:
    if math.isnan(metric):
        return TrainingResult.unsuccessful("diverged", "loss is nan")
    return TrainingResult("ok", "", 100, 1 - metric, 1 - metric, metric, 0.0)


def reached(found: float, lr: float) -> bool:
    """Whether a rate is within refinement's reach of another."""
    return abs(math.log(found / lr)) <= math.log(LR_REACH)


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
    assert reached(tuner.best.setting.lr, lr)
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
    below = min((t for t in tuner.trials if t.setting.lr < 0.05), key=lambda t: t.rank)
    assert below.setting.schedule == "constant"
    assert tuner.best.setting.schedule == "warmup_cosine"
    assert reached(tuner.best.setting.lr, 0.4)


@pytest.mark.parametrize("up", [1, -1])
def test_a_dip_between_two_peaks_does_not_hide_the_higher(up: int) -> None:
    """As of an orthogonalised update on a small table, whose own rate is 0.1; and upside down."""
    measured = {-4: 0.378, -3: 0.543, -2: 0.498, -1: 0.514, 0: 0.5}

    def metric(setting: Setting) -> float:
        place = up * math.log10(setting.lr) + (0 if up == 1 else -4)
        return float(np.interp(place, list(measured), list(measured.values())))

    who = contender("adam")
    own, best = (0.1, 1e-3) if up == 1 else (1e-3, 0.1)
    tuner = tune(replace(who, space=replace(who.space, lr=own)), metric)
    assert reached(tuner.best.setting.lr, best)
    assert tuner.best.metric > 0.52


def test_a_best_rate_inside_the_grid_is_refined_around_it_and_within_the_declared_ranges() -> None:
    who = contender("adamw")
    tuner = tune(who, peak(2e-3))
    assert [t.stage for t in tuner.trials if t.stage != "refinement"] == [
        *["grid"] * 6,
        *["extension"] * 2,  # a second rate to either side
        *["between"] * 4,
    ]
    refined = [t.setting for t in tuner.trials if t.stage == "refinement"]
    for setting in refined:
        values = dict(setting.values)
        assert 1e-3 / LR_REACH <= values.pop("lr") <= 1e-2 * LR_REACH
        assert set(values) == set(who.space.ranges)
        assert all(low <= values[name] <= high for name, (low, high) in who.space.ranges.items())
    assert len({s.values for s in refined}) == len(refined) == 12


@pytest.mark.parametrize("own", [1e-4, 2e-4, 3e-3, 0.4])
def test_whoever_starts_elsewhere_finds_the_same_rate(own: float) -> None:
    """Rates lie on one grid for everybody: equal rules with other presets are not told apart by tuning."""
    who = contender("adam")
    starts = replace(who, space=replace(who.space, lr=own))
    of_grids = [
        [t for t in tune(one, peak(0.013)).trials if t.stage != "refinement"] for one in (who, starts)
    ]
    found = [min(trials, key=lambda trial: trial.rank).setting.lr for trials in of_grids]
    assert found == [0.01, 0.01]


def test_each_round_looks_closer_around_the_best_of_all_before() -> None:
    who = contender("adamw")

    def metric(setting: Setting) -> float:
        return peak(2e-3)(setting) - 0.01 * abs(dict(setting.values).get("beta1", 0.9) - 0.93)

    tuner = tune(who, metric, trials=32)
    refined = [t for t in tuner.trials if t.stage == "refinement"]
    rounds = [refined[:8], refined[8:16], refined[16:]]
    for k, trials in enumerate(rounds):
        settings = [dict(trial.setting.values) for trial in trials]
        for name in who.space.ranges:
            positions = [who.space.position(name, values[name]) for values in settings]
            assert 0.4 * 0.5**k < max(positions) - min(positions) <= 0.5**k
    before = min((t for t in tuner.trials if t not in rounds[2]), key=lambda t: t.rank).setting
    assert all(abs(math.log(t.setting.lr / before.lr)) <= math.log(LR_REACH) / 4 for t in rounds[2])


@pytest.mark.parametrize("name", ["weight_decay", "beta1", "beta2"])
@given(position=st.floats(0, 1))
def test_positions_and_values_are_each_others_inverse(name: str, position: float) -> None:
    space = contender("adamw").space
    assert space.position(name, space.point({name: position})[name]) == pytest.approx(position, abs=1e-6)


def test_positions_outside_a_range_are_its_ends() -> None:
    space = TuningSpace(1e-3, {"weight_decay": (1e-4, 0.3), "beta1": (0.8, 0.98), "momentum": (0.9, 0.9)})
    assert [space.position("weight_decay", x) for x in (0.0, 1e-9, 7.0)] == [0.0, 0.0, 1.0]
    assert [space.position("beta1", x) for x in (0.0, 0.8, 0.98, 1.0)] == [0.0, 0.0, 1.0, 1.0]
    assert space.position("beta1", None) == space.position("momentum", 0.9) == 0.5


@pytest.mark.parametrize("who", ["adam", "torch.optim:Adam"])
def test_rounds_start_from_a_contenders_own_values_where_none_has_done_better(who: str) -> None:
    """Of rules and of classes."""

    def metric(setting: Setting) -> float:
        return (
            0.9 - 0.1 * abs(math.log10(setting.lr / 1e-3)) - (0.3 if "beta2" in dict(setting.values) else 0)
        )

    refined = [t for t in tune(contender(who), metric).trials if t.stage == "refinement"]
    last = [dict(t.setting.values)["beta2"] for t in refined[-4:]]
    assert min(last) > 0.998  # a quarter of the range from 0.9 to 0.9995, around Adam's 0.999


def test_who_tunes_more_meets_the_same_points_in_what_is_tuned_by_both() -> None:
    adam, adamw = (tune(contender(name), peak(1e-3)) for name in ("adam", "adamw"))
    assert len(adam.trials) == len(adamw.trials)
    first = [next(t for t in tuner.trials if t.stage == "refinement") for tuner in (adam, adamw)]
    values = [dict(trial.setting.values) for trial in first]
    assert set(values[0]) < set(values[1])
    assert all(values[1][name] == value for name, value in values[0].items())


def test_the_luckiest_of_the_first_look_is_not_chosen() -> None:
    tuner = Tuner(contender("adam"), 6, steps=100, seed=(0,))
    tuner.tell([[result(0.9 if setting.lr == 1e-3 else 0.8)] * 2 for setting in tuner.ask()])
    tuner.tell_again([[result(0.7 if s.lr == 1e-3 else 0.8)] * 4 for s in tuner.ask_again()])
    assert tuner.best.metric == pytest.approx(0.8)
    assert len(tuner.best.results) == 6
    assert tuner.best.setting.lr == 1e-4
    assert tuner.at_edge, "the one that is chosen, not the one that seemed best"


def test_a_schedule_that_tells_nothing_apart_does_not_use_up_the_trials() -> None:
    flat = tune(contender("adam"), lambda s: 0.1 if s.schedule == "constant" else peak(1e-3)(s))
    assert [t.setting.schedule for t in flat.trials].count("constant") == 4  # three, and one between
    assert flat.best.setting.schedule == "warmup_cosine"
    everywhere = tune(contender("adam"), lambda setting: 0.1)
    assert min(t.setting.lr for t in everywhere.trials) > 1e-5


@pytest.mark.parametrize(
    ("trials", "lr", "lack"),
    [(6, 1.0, "still the outermost"), (8, 1e-3, "nothing but the learning rate"), (12, 1e-3, "")],
)
def test_what_more_trials_would_have_been_for_is_told(trials: int, lr: float, lack: str) -> None:
    told = tune(contender("adam"), peak(lr), trials).lack
    assert lack in told
    assert bool(lack) == bool(told)


def test_trials_where_everything_diverges_move_to_smaller_rates_and_never_win() -> None:
    always = tune(contender("adam"), lambda setting: math.nan, trials=100)
    assert min(t.setting.lr for t in always.trials if t.stage != "refinement") == 1e-10
    mostly = tune(contender("adam"), lambda setting: math.nan if setting.lr > 4e-6 else 0.1)
    assert mostly.best.metric == pytest.approx(0.1)
    assert mostly.best.setting.lr < 4e-6


def test_a_best_rate_beside_a_cliff_is_found() -> None:
    """As of LAMB on letters: 0.1 is far worse than 0.001, and a constant rate leads at 0.01."""

    def metric(setting: Setting) -> float:
        if setting.schedule == "constant":
            return 0.9 - 0.3 * abs(math.log10(setting.lr / 0.01)) if setting.lr < 0.02 else 0.0
        return 0.95 - 0.09 * abs(math.log10(setting.lr / 0.035)) if setting.lr < 0.05 else 0.0

    best = tune(contender("adam"), metric).best.setting
    assert best.schedule == "warmup_cosine"
    assert best.lr == pytest.approx(0.035, rel=0.3)


def test_trials_that_fail_are_not_followed() -> None:
    tuner = Tuner(contender("adam"), 24, steps=100, seed=(0,))
    failed = TrainingResult.unsuccessful("failed", "no such layer")
    while settings := tuner.ask():
        tuner.tell([[failed if s.schedule == "constant" else result(peak(1e-3)(s))] * 2 for s in settings])
    assert [t.setting.schedule for t in tuner.trials].count("constant") == 3
    tuner.tell_again([[failed] * 2 for _ in tuner.ask_again()])
    assert len(tuner.unsuccessful) == 3 * 2 + 4 * 2


def test_one_lost_seed_counts_more_than_a_higher_metric() -> None:
    tuner = Tuner(contender("adam"), 6, steps=100, seed=(0,))
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


def test_every_decay_that_a_rule_reads_is_tuned() -> None:
    assert {"beta1", "beta2", "others_lr"} < rule_space(preset("normuon")).ranges.keys()  # rows' moments
    difference = replace(preset("sgd"), use_m=False, terms=(("grad", 1.0),), gradient_difference=0.025)
    assert rule_space(difference.canonical()).ranges.keys() == {"weight_decay", "beta1"}
    assert rule_space(preset("adam")).ranges.keys() == {"weight_decay", "beta1", "beta2"}
