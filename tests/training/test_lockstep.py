"""The engine: members that start now and members that live on make the same steps, whoever leaves."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor

from evoopt.training.batched import train_batched
from evoopt.training.batched_update import BatchedUpdate
from evoopt.training.lockstep import Lockstep
from evoopt.training.members import Members
from evoopt.training.phase import train_phase
from evoopt.training.plan import PhasePlan, TrainingPlan, TrainingResult
from evoopt.training.population import ModelPopulation
from evoopt.training.streams import initial_model
from tests.rules import random_rules, random_staged_rule

from .examples import task_and_data

TASKS = ("mlp", "odd_convolutions", "residual")


@pytest.mark.parametrize("name", TASKS)
def test_a_first_phase_of_fresh_members_is_a_training(name: str) -> None:
    task, data = task_and_data(name)
    rules = random_rules(5, seed=1)
    results = train_batched(
        task, data, rules, TrainingPlan(12, 3, 16, drop_last=False), keep_losses=True, dtype=torch.float64
    )
    model = initial_model(task, 3).double()
    members = Members.fresh(ModelPopulation.from_model(model, len(rules)), rules)
    losses = train_phase(task, data.train.to("cpu", torch.float64), members, PhasePlan(12, 16, (3,), False))
    assert {result.outcome for result in results} == {"ok"}
    expected = torch.tensor([result.losses for result in results], dtype=torch.float64).T
    torch.testing.assert_close(losses, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seeds", [(4,), (4, 5, 6, 7)], ids=["shared", "separate"])
@pytest.mark.parametrize("name", TASKS)
def test_those_that_stay_go_on_with_their_own_data_when_others_leave(
    name: str, seeds: tuple[int, ...]
) -> None:
    task, data = task_and_data(name)
    train, rules = data.train.to("cpu", torch.float64), random_rules(4, seed=2)
    plan = PhasePlan(8, 16, seeds)

    def trained(dropped_at: int | None) -> tuple[list[int], Tensor, Tensor]:
        population = ModelPopulation.from_seeds(task, range(4)).to("cpu", torch.float64)
        update = BatchedUpdate(rules, plan.steps, population.weights)
        lockstep = Lockstep(task, train, population, update, [plan.single(seed) for seed in seeds])
        for step, batch in lockstep.minibatches():
            if step == dropped_at:
                lockstep.drop(dict.fromkeys((0, 2), TrainingResult.unsuccessful("stopped", "")))
            lockstep.step(step, batch)
        return lockstep.alive, lockstep.losses, lockstep.population.weights

    everyone, expected, weights = trained(None)
    alive, losses, stayed = trained(3)
    assert (everyone, alive) == ([0, 1, 2, 3], [1, 3])
    torch.testing.assert_close(losses[:, alive], expected[:, alive], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(stayed, weights[alive], rtol=1e-9, atol=1e-9)
    assert losses[3:, [0, 2]].isnan().all()
    assert torch.equal(losses[:3], expected[:3])


def test_a_training_that_is_over_leaves_no_memory_to_a_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    trainings: list[weakref.ref[Lockstep]] = []
    begin = Lockstep.__init__
    monkeypatch.setattr(
        Lockstep, "__init__", lambda self, *args: trainings.append(weakref.ref(self)) or begin(self, *args)
    )
    task, data = task_and_data("digits_cnn")
    gc.disable()
    try:
        for rules in (random_rules(4, seed=1), random_rules(4, seed=1, draw=random_staged_rule)):
            train_batched(task, data, rules, TrainingPlan(8, 3, 16, halve_at=0.5))
        assert [training() for training in trainings] == [None, None]
    finally:
        gc.enable()


def test_parts_are_cut_for_a_whole_minibatch_whoever_leaves_before_a_smaller_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    monkeypatch.setattr("evoopt.training.lockstep.members_at_once", lambda model, x: seen.append(len(x)) or 3)
    task, data = task_and_data("mlp")
    population = ModelPopulation.from_seeds(task, range(4))
    update = BatchedUpdate(random_rules(4, seed=2), 8, population.weights)
    plan = TrainingPlan(8, 3, batch_size=32, drop_last=False)
    lockstep, sizes = Lockstep(task, data.train, population, update, [plan]), []
    for step, batch in lockstep.minibatches():
        if step == 3:
            lockstep.drop({0: TrainingResult.unsuccessful("stopped", "")})
        sizes.append(len(batch.x))
        lockstep.step(step, batch)
    assert sizes == [32, 32, 32, 4] * 2
    assert seen == [32, 32]
