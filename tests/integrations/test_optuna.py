"""Three-parent recombination as a sampler of Optuna's studies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import evoopt

optuna = pytest.importorskip("optuna")
optuna.logging.set_verbosity(optuna.logging.WARNING)


def objective(trial: Any) -> float:
    rate = trial.suggest_float("rate", 1e-5, 1.0, log=True)
    depth = trial.suggest_int("depth", -5, 5)
    kind = trial.suggest_categorical("kind", ["a", "b", None])
    width = trial.suggest_int("width", 16, 256, step=16)
    share = trial.suggest_float("share", 0.0, 1.0, step=0.25)
    fixed = trial.suggest_float("fixed", 2.0, 2.0)
    assert width % 16 == 0
    assert share % 0.25 == 0
    miss = abs(math.log10(rate) + 2) + abs(depth - 3) / 5 + (kind != "b") + abs(width - 64) / 256 + share
    return miss + fixed - 2.0


def study(sampler: Any, trials: int, direction: str = "minimize", of: Any = objective) -> Any:
    made = optuna.create_study(sampler=sampler, direction=direction)
    made.optimize(of, n_trials=trials, catch=(ValueError,))
    return made


def test_it_finds_better_values_than_chance_with_as_many_trials() -> None:
    seeds = range(5)
    found = [study(evoopt.ThreeParentSampler(20, seed), 200).best_value for seed in seeds]
    chance = [study(optuna.samplers.RandomSampler(seed), 200).best_value for seed in seeds]
    assert sum(found) < 0.6 * sum(chance)


def test_numbers_in_steps_move_however_small_they_are() -> None:
    from evoopt.systems.hyperparameters.optuna_sampler import _on_grid

    rng, steps = np.random.default_rng(0), optuna.distributions.FloatDistribution(0.0, 1.0, step=0.1)
    whole = optuna.distributions.IntDistribution(0, 64)
    moved = [_on_grid(1.05, whole, rng) for _ in range(4000)]
    assert set(moved) == {1, 2}
    assert np.mean(moved) == pytest.approx(1.05, abs=0.02)
    assert {_on_grid(k, whole, rng) for k in (0, 1, 64)} == {0, 1, 64}
    assert {_on_grid(k / 10, steps, rng) for k in range(11)} == {k * 0.1 for k in range(11)}
    assert {_on_grid(63.9, optuna.distributions.IntDistribution(0, 63, step=9), rng) for _ in range(9)} == {
        63
    }


def test_the_same_seed_gives_the_same_trials_and_maximising_is_minimising_the_opposite() -> None:
    first = study(evoopt.ThreeParentSampler(8, seed=3), 40)
    second = study(evoopt.ThreeParentSampler(8, seed=3), 40)
    opposite = study(evoopt.ThreeParentSampler(8, seed=3), 40, "maximize", lambda trial: -objective(trial))
    params = [trial.params for trial in first.trials]
    assert params == [trial.params for trial in second.trials] == [trial.params for trial in opposite.trials]
    assert len({str(trial.params) for trial in first.trials}) == 40


def test_no_trial_is_made_twice_while_there_are_others() -> None:
    one = study(
        evoopt.ThreeParentSampler(5, seed=1), 40, of=lambda trial: trial.suggest_float("x", -10, 10) ** 2
    )
    assert len({trial.params["x"] for trial in one.trials}) == 40
    few = study(evoopt.ThreeParentSampler(4, seed=1), 12, of=lambda trial: trial.suggest_int("x", 0, 2))
    assert {trial.params["x"] for trial in few.trials} == {0, 1, 2}


def test_failed_and_pruned_trials_and_parameters_of_some_trials_only() -> None:
    def moody(trial: Any) -> float:
        value = objective(trial)
        if trial.number % 8 == 0:
            raise ValueError("moody")
        if trial.number % 8 == 1:
            raise optuna.TrialPruned
        return value + (trial.suggest_float("more", 0.0, 1.0) if trial.number % 2 else 0.0)

    made = study(evoopt.ThreeParentSampler(8, seed=1), 48, of=moody)
    assert len(made.trials) == 48
    assert made.best_value < 1.5


def test_what_it_cannot_do_is_said_in_one_line() -> None:
    with pytest.raises(evoopt.EvooptError, match="mutation_rat"):
        evoopt.ThreeParentSampler(mutation_rat=0.1)
    two = optuna.create_study(directions=["minimize", "minimize"], sampler=evoopt.ThreeParentSampler(2, 1))
    with pytest.raises(evoopt.EvooptError, match="one objective"):
        two.optimize(lambda trial: (objective(trial),) * 2, n_trials=5)
