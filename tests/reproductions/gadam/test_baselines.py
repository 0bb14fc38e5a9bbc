"""GADAM's rivals start where it starts, see data it could see, and get the steps they are said to get."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from evoopt.tasks import DataOptions, get_task, load_task_data
from evoopt.training.members import Members
from evoopt.training.population import ModelPopulation
from reproductions.gadam import baselines
from reproductions.gadam.baselines import Bench, Kept, longer, plain, restarts, train_members, tuned
from reproductions.gadam.budget import Budget
from reproductions.gadam.units import make_scheme


@pytest.fixture(scope="module")
def bench() -> Bench:
    task = get_task("digits")
    return Bench(task, load_task_data(task, DataOptions()), Budget(3, 2, 5), 7, "batched", "cpu")


@pytest.fixture(scope="module")
def start(bench: Bench) -> Members:
    return make_scheme(bench, "gadam")[0].members


def test_the_test_part_is_sealed_until_a_model_is_chosen(bench: Bench) -> None:
    with pytest.raises(Exception, match="sealed"):
        bench.data.test.open()
    row = bench.row(bench.task.make_model(), 5)
    assert set(row) == {"validation_loss", "validation_accuracy", "test_loss", "test_accuracy", "steps"}
    assert bench.row(None, 5)["diverged"]


def test_every_rival_gets_the_steps_of_its_kind(bench: Bench, start: Members) -> None:
    rows = {
        **restarts(bench, start)["rows"],
        **longer(bench, start)["rows"],
        **tuned(bench, start)["rows"],
        **plain(bench, start, "sgd")["rows"],
    }
    assert {name: row["steps"] for name, row in rows.items()} == {
        "adam": 20, "sgd": 20, "adam_best": 60, "adam_ensemble": 60, "adam_long": 60, "adam_tuned": 60,
    }  # fmt: skip
    assert rows["adam_best"]["validation_loss"] <= rows["adam"]["validation_loss"]
    assert rows["adam_tuned"]["lr"] == 3e-3  # with so few steps faster is better


def test_a_plain_loop_meets_the_weights_and_minibatches_of_the_population(
    bench: Bench, start: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "OPTIMIZERS", {"adam": torch.optim.Adam})
    alone = plain(bench, start, "adam")
    together = restarts(bench, start)
    torch.testing.assert_close(alone["losses"], together["losses"], rtol=1e-4, atol=1e-4)
    for name in ("validation_loss", "test_loss"):
        assert alone["rows"]["adam"][name] == pytest.approx(together["rows"]["adam"][name], rel=1e-3)


def test_all_variants_of_gadam_start_from_the_same_models(bench: Bench, start: Members) -> None:
    for variant in ("gadam_paper", "gadam_reinitialised"):
        members = make_scheme(bench, variant)[0].members
        assert torch.equal(members.population.weights, start.population.weights)
    other = make_scheme(dataclasses.replace(bench, seed=8), "gadam")[0].members
    assert not torch.equal(other.population.weights, start.population.weights)


def test_the_best_state_is_kept_and_not_the_last(bench: Bench, start: Members) -> None:
    now = ModelPopulation.from_models([bench.task.make_model() for _ in range(2)])
    kept = Kept(now[[0, 1]])
    for value, losses in enumerate([(1.0, 2.0), (0.5, 3.0), (0.7, math.nan)]):
        now.weights.fill_(float(value))
        kept.look(now, losses, losses)
    assert kept.losses == [0.5, 2.0]
    assert kept.population.weights[:, 0].tolist() == [1.0, 0.0]
    best = kept.best()
    assert best is not None
    assert next(best.parameters()).unique().tolist() == [1.0]


def test_a_rival_that_diverges_is_a_row_without_scores(bench: Bench, start: Members) -> None:
    hopeless = dataclasses.replace(start.rules[0], lr=1e30)
    kept, _ = train_members(bench, dataclasses.replace(start, rules=(hopeless,) * 3), 2)
    assert kept.best() is None
    assert bench.row(kept.best(), 10) == {"diverged": True, "steps": 10}
    assert baselines._ensemble(bench, kept, 10) == {"diverged": True, "steps": 10}


def test_an_ensemble_of_equals_is_one_of_them(bench: Bench, start: Members) -> None:
    kept, _ = train_members(bench, start[[0]], 1)
    alike = Kept(kept.population[[0, 0, 0]], kept.losses * 3, kept.metrics * 3)
    row, one = baselines._ensemble(bench, alike, 5), bench.row(kept.best(), 5)
    assert row == pytest.approx(one, rel=1e-5)
