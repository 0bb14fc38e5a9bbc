"""Gradient training that goes on from given weights."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evoopt.errors import EvooptError
from evoopt.tasks import Split
from evoopt.training.head_start import train_on
from evoopt.training.plan import TrainingPlan
from evoopt.training.streams import minibatches


def problem() -> tuple[nn.Module, Split]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
    return model, Split(torch.randn(70, 5), torch.arange(70) % 3)


def test_it_is_a_plain_loop_from_the_weights_given_which_stay() -> None:
    model, train = problem()
    before = copy.deepcopy(model.state_dict())
    state = torch.random.get_rng_state()
    trained = train_on(model, train, 20, seed=4)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert not trained.training

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7)
    torch.manual_seed(4)
    for index in minibatches(70, TrainingPlan(20, 4, 32)):
        optimizer.zero_grad()
        F.cross_entropy(model(train.x[index]), train.y[index]).backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), model.parameters()))


def test_divergence_is_said() -> None:
    model, train = problem()
    with pytest.raises(EvooptError, match=r"training diverged: batch loss \w+ at step \d"):
        train_on(model, train, 50, 0, make_optimizer=partial(torch.optim.SGD, lr=1e20))
