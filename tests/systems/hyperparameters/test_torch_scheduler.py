"""A schedule that evolved, on a torch optimizer of one's own."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import evoopt.optim
from evoopt import EvooptError, ScheduleLR
from evoopt.optim.evolved import EvolvedOptimizer
from evoopt.systems.hyperparameters.schedules import Schedule

SCHEDULE = Schedule(
    (
        {"lr": 0.1, "beta1": 0.8, "weight_decay": 0.0, "dropout": 0.5},
        {"lr": 0.02, "beta1": 0.9, "weight_decay": 0.1, "dropout": 0.1},
    ),
    steps=3,
    batch_size=8,
)


def evolved(parameters: Any, lr: float) -> EvolvedOptimizer:
    return EvolvedOptimizer(parameters, replace(evoopt.optim.preset("adamw"), lr=lr), 10)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.3), nn.Linear(3, 2))


@pytest.mark.parametrize("cls", [torch.optim.AdamW, evoopt.optim.AdamW])
def test_every_step_has_the_values_of_its_generation(cls: Any) -> None:
    model = network()
    optimizer = cls([{"params": model[0].parameters()}, {"params": model[2].parameters()}], lr=1.0)
    scheduler = ScheduleLR(optimizer, SCHEDULE, model)
    for step in range(8):
        values = SCHEDULE.values[min(step // 3, 1)]
        for group in optimizer.param_groups:
            assert group["lr"] == scheduler.get_last_lr()[0] == values["lr"]
            assert group["betas"] == (values["beta1"], 0.999)
            assert group["weight_decay"] == values["weight_decay"]
        assert model[1].p == values["dropout"]
        optimizer.step()
        scheduler.step()


def test_a_training_that_is_interrupted_goes_on_where_it_stood() -> None:
    def begin() -> tuple[nn.Module, Any, ScheduleLR]:
        model = network()
        optimizer = torch.optim.AdamW(model.parameters())
        return model, optimizer, ScheduleLR(optimizer, SCHEDULE, model)

    def train(model: nn.Module, optimizer: Any, scheduler: ScheduleLR, steps: int) -> None:
        for _ in range(steps):
            model.eval()(torch.ones(8, 4)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()

    whole = begin()
    train(*whole, 7)
    first = begin()
    train(*first, 4)
    saved = copy.deepcopy([part.state_dict() for part in first])
    assert set(saved[2]) == set(torch.optim.lr_scheduler.ConstantLR(first[1]).state_dict()) - {
        "factor",
        "total_iters",
    }
    other = begin()
    for part, state in zip(other, saved, strict=True):
        part.load_state_dict(state)
    train(*other, 3)
    assert all(torch.equal(a, b) for a, b in zip(whole[0].parameters(), other[0].parameters(), strict=True))


@pytest.mark.parametrize(
    ("cls", "name", "key"),
    [
        (torch.optim.SGD, "momentum", "momentum"),
        (torch.optim.SGD, "l2", "weight_decay"),
        (torch.optim.Adam, "l2", "weight_decay"),
        (torch.optim.AdamW, "weight_decay", "weight_decay"),
        (torch.optim.RMSprop, "eps", "eps"),
    ],
)
def test_hyperparameters_are_found_under_the_names_that_optimizers_have(
    cls: Any, name: str, key: str
) -> None:
    optimizer = cls(network().parameters(), lr=0.1)
    ScheduleLR(optimizer, Schedule(({name: 0.25},), 1, 8))
    assert optimizer.param_groups[0][key] == 0.25
    assert optimizer.param_groups[0]["lr"] == 0.1, "what it does not set stays"


@pytest.mark.parametrize(
    ("cls", "name", "words"),
    [
        (torch.optim.Adam, "weight_decay", "the optimizer's weight decay is coupled, and 'weight_decay'"),
        (torch.optim.AdamW, "l2", "the optimizer's weight decay is decoupled, and 'l2'"),
        (torch.optim.Adafactor, "l2", "the optimizer's weight decay is decoupled, and 'l2'"),
        (evolved, "l2", "the optimizer's weight decay is decoupled, and 'l2'"),
        (torch.optim.SGD, "beta2", "the optimizer has no 'beta2'"),
        (torch.optim.SGD, "optimizer", "the optimizer has no 'optimizer'"),
        (torch.optim.SGD, "dropout", "'dropout' is a dropout rate: pass the model"),
    ],
)
def test_what_the_optimizer_cannot_follow_is_refused_in_one_line(cls: Any, name: str, words: str) -> None:
    optimizer = cls(network().parameters(), lr=0.1)
    with pytest.raises(EvooptError, match=words):
        ScheduleLR(optimizer, Schedule(({"lr": 0.5, name: 0.25},), 1, 8))
    assert optimizer.param_groups[0]["lr"] == 0.1, "nothing was set"


def test_buffers_of_the_model_follow_the_schedule_too() -> None:
    model = nn.Sequential(nn.Linear(2, 1))
    model[0].register_buffer("q", torch.zeros(()))
    schedule = Schedule(({"lr": 0.1, "q": 0.5}, {"lr": 0.2, "q": 2.0}), 1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with pytest.raises(EvooptError, match="no 'q'"):
        ScheduleLR(optimizer, schedule)
    scheduler = ScheduleLR(optimizer, schedule, model)
    found = [(float(model[0].q), scheduler.get_last_lr()[0])]
    optimizer.step()
    scheduler.step()
    assert [*found, (float(model[0].q), scheduler.get_last_lr()[0])] == [(0.5, 0.1), (2.0, 0.2)]
