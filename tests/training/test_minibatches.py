"""What a training is shown depends on its seed and step, not on others or on where it begins."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from evoopt.tasks.task import Split, Task
from evoopt.training.dropout import with_given_dropout
from evoopt.training.minibatches import Minibatch, load_minibatches
from evoopt.training.plan import TrainingPlan

from .examples import task_and_data

PLANS = [TrainingPlan(steps=7, seed=seed, batch_size=20) for seed in (3, 4)]


def noisy(x: Tensor, generator: torch.Generator) -> Tensor:
    return x + torch.rand(x.shape, generator=generator)


def training(augmented: bool) -> tuple[Task, Split, nn.Module]:
    task, data = task_and_data("mlp")
    train = data.train.part(slice(0, 50))
    model = with_given_dropout(nn.Sequential(nn.Linear(train.x.shape[-1], 9), nn.Dropout(0.5)))
    return replace(task, augment=noisy if augmented else None), train, model


def same(some: Minibatch, others: Minibatch) -> bool:
    pairs = (some.x, others.x), (some.y, others.y), (some.uniform["1.uniform"], others.uniform["1.uniform"])
    return some.seeds == others.seeds and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("augmented", [False, True])
def test_a_member_is_shown_what_it_is_shown_alone(augmented: bool) -> None:
    task, train, model = training(augmented)
    together = list(load_minibatches(task, train, PLANS, model))
    alone = [list(load_minibatches(task, train, [plan], model)) for plan in PLANS]
    assert [len(batches) for batches in alone] == [len(together)] * 2 == [7, 7]
    for k, own in enumerate(alone):
        for batch, expected in zip(together, own, strict=True):
            uniform = {name: numbers[k] for name, numbers in batch.uniform.items()}
            assert same(Minibatch(batch.x[k], batch.y[k], uniform, (batch.seeds[k],)), expected)
    assert not same(alone[0][0], alone[0][1])
    assert not same(alone[0][0], alone[1][0])


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("plans", [PLANS, PLANS[:1]], ids=["own", "shared"])
def test_whoever_begins_later_is_shown_the_rest(plans: list[TrainingPlan], augmented: bool) -> None:
    task, train, model = training(augmented)
    whole = list(load_minibatches(task, train, plans, model))
    rest = list(load_minibatches(task, train, plans, model, first=4))
    assert len(rest) == 3
    assert all(same(a, b) for a, b in zip(whole[4:], rest, strict=True))
    assert list(load_minibatches(task, train, plans, model, first=7)) == []
