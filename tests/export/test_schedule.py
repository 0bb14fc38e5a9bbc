"""The learning-rate schedule inside an exported class, and torch's LR schedulers outside of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR

from evoopt.export.classes import from_rule
from evoopt.optim import PRESETS, Marfinetz2025, UpdateRule
from evoopt.optim.schedule import schedule_factor
from tests.export.subjects import CLASSES, RULES, make, regression, scheduled, weight_and_bias

SCHEDULES = {
    "warmup": {"warmup_steps": 4},
    "cosine": {"cosine": True},
    "warmup and cosine": {"warmup_steps": 4, "cosine": True},
}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
TOTAL = 11


def scheduled_class(schedule: dict[str, Any]) -> type[Any]:
    return from_rule(UpdateRule((("sign_grad", 1.0), ("momentum", 0.5)), lr=0.3, **schedule), "Scheduled")


def shown(optimizer: Optimizer) -> list[float]:
    return [float(group["scheduled_lr"]) for group in optimizer.param_groups]


@every_schedule
@pytest.mark.parametrize("foreach", [False, True])
def test_the_learning_rate_is_bit_for_bit_that_of_the_rule(schedule: dict[str, Any], foreach: bool) -> None:
    parameter = Parameter(torch.tensor([1.0], dtype=torch.float64))
    parameter.grad = torch.ones_like(parameter)
    cls = from_rule(UpdateRule((("sign_grad", 1.0),), lr=0.3, **schedule), "Scheduled")
    optimizer = cls([parameter], total_steps=TOTAL, foreach=foreach)
    for step in range(TOTAL + 3):
        before = parameter.item()
        optimizer.step()
        lr = 0.3 * schedule_factor(
            step, TOTAL, schedule.get("warmup_steps", 0), schedule.get("cosine", False)
        )
        assert shown(optimizer) == [lr]
        assert parameter.item() == before - lr
        assert optimizer.param_groups[0]["lr"] == 0.3


@every_schedule
@pytest.mark.parametrize("stop", [1, 6, 12])
def test_the_schedule_continues_from_a_state_dict(schedule: dict[str, Any], stop: int) -> None:
    cls, params = scheduled_class(schedule), weight_and_bias()
    optimizer = cls(params, total_steps=TOTAL)
    for _ in range(stop):
        optimizer.step(regression(params))
    restarted = cls(weight_and_bias(), total_steps=TOTAL)
    restarted.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert shown(restarted) == shown(optimizer)
    for _ in range(3):
        optimizer.step(regression(params))
        restarted.step(regression(restarted.param_groups[0]["params"]))
        assert shown(restarted) == shown(optimizer)


@every_schedule
def test_a_decaying_class_needs_a_training_length_unless_told_otherwise(schedule: dict[str, Any]) -> None:
    cls = scheduled_class(schedule)
    if "cosine" in schedule:
        with pytest.raises(ValueError, match=r"Scheduled schedules .* pass total_steps.*, or schedule=False"):
            cls(weight_and_bias())
    else:
        cls(weight_and_bias()).step()
    for total_steps in (0, -1):
        with pytest.raises(ValueError, match=f"Invalid total_steps value: {total_steps}"):
            cls(weight_and_bias(), total_steps=total_steps)
    params = weight_and_bias()
    optimizer = cls(params, schedule=False)
    for _ in range(3):
        optimizer.step(regression(params))
        assert shown(optimizer) == [0.3]


def test_only_rules_with_a_schedule_have_scheduling_arguments() -> None:
    rules = {**PRESETS, **RULES}
    found = {name: scheduled(cls) for name, cls in CLASSES.items()}
    assert found == {
        name: bool(rules[name].canonical().warmup_steps or rules[name].cosine) for name in CLASSES
    }
    assert set(found.values()) == {True, False}


def test_groups_share_the_schedule_and_keep_their_own_base() -> None:
    params = weight_and_bias()
    optimizer = Marfinetz2025(
        [{"params": params[:1], "lr": 0.1}, {"params": params[1:]}], lr=0.2, total_steps=10
    )
    for _ in range(3):
        optimizer.step(regression(params))
    optimizer.add_param_group({"params": [Parameter(torch.ones(2))], "lr": 0.4})
    optimizer.step(regression(params))
    first, second, late = shown(optimizer)
    assert first == pytest.approx(0.1 * schedule_factor(3, 10, 100, True), rel=1e-15)
    assert second == pytest.approx(2 * first, rel=1e-15)
    assert late == pytest.approx(4 * first, rel=1e-15)
    before = shown(optimizer)
    optimizer.param_groups[0]["scheduled_lr"].fill_(7.0)
    assert shown(optimizer)[1:] == before[1:]  # no tensor is shared


def test_the_schedule_goes_on_while_a_parameter_is_frozen() -> None:
    params = weight_and_bias()
    optimizer = Marfinetz2025(params, total_steps=10, lr=0.1)
    params[0].requires_grad_(False)
    for step in range(4):
        if step == 3:
            params[0].requires_grad_(True)
        optimizer.step(regression(params))
    assert shown(optimizer) == [0.1 * schedule_factor(3, 10, 100, True)]
    assert [optimizer.state[p]["step"].item() for p in params] == [1, 4]


@pytest.mark.parametrize("shape", [(), (1,)])
def test_the_schedule_multiplies_a_tensor_lr(shape: tuple[int, ...]) -> None:
    lr = torch.full(shape, 0.1, dtype=torch.float64)
    params = weight_and_bias()
    optimizer = Marfinetz2025(params, lr=lr, total_steps=10)
    for _ in range(3):
        optimizer.step(regression(params))
    assert shown(optimizer) == [pytest.approx(0.1 * schedule_factor(2, 10, 100, True), rel=1e-15)]
    assert torch.equal(lr, torch.full(shape, 0.1, dtype=torch.float64))


SCHEDULERS: dict[str, Callable[[Optimizer], LRScheduler]] = {
    "LambdaLR": lambda opt: LambdaLR(opt, lambda step: 0.5**step),
    "CosineAnnealingLR": lambda opt: CosineAnnealingLR(opt, T_max=5),
    "OneCycleLR": lambda opt: OneCycleLR(opt, max_lr=0.01, total_steps=6),
}


@pytest.mark.parametrize("scheduler", SCHEDULERS.values(), ids=SCHEDULERS)
@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
@pytest.mark.parametrize("foreach", [False, True])
def test_an_lr_scheduler_drives_every_class(
    cls: type[Any], scheduler: Callable[[Optimizer], LRScheduler], foreach: bool
) -> None:
    alone = torch.optim.Adam(weight_and_bias(), lr=cls(weight_and_bias(), **no_schedule(cls)).defaults["lr"])
    params = weight_and_bias()
    optimizer = cls(params, foreach=foreach, **no_schedule(cls))
    mine, reference = scheduler(optimizer), scheduler(alone)
    for _ in range(5):
        before = [p.detach().clone() for p in params]
        lr = optimizer.param_groups[0]["lr"]
        optimizer.step(regression(params))
        alone.step()
        assert any(not torch.equal(p, q) for p, q in zip(params, before, strict=True)) == (lr > 0)
        if scheduled(cls):
            assert shown(optimizer) == [pytest.approx(lr)]
        mine.step()
        reference.step()
        assert mine.get_last_lr() == reference.get_last_lr()
        assert optimizer.param_groups[0]["lr"] == reference.get_last_lr()[0]


def no_schedule(cls: type[Any]) -> dict[str, Any]:
    return {"schedule": False} if scheduled(cls) else {}


def test_an_lr_scheduler_and_the_inner_schedule_multiply() -> None:
    params = weight_and_bias()
    optimizer = Marfinetz2025(params, lr=0.1, total_steps=10)
    outer = LambdaLR(optimizer, lambda step: 0.5**step)
    for step in range(4):
        optimizer.step(regression(params))
        assert shown(optimizer) == [pytest.approx(0.1 * 0.5**step * schedule_factor(step, 10, 100, True))]
        outer.step()


def test_a_compiled_schedule_equals_the_eager_one() -> None:
    # Eager tensor arithmetic of the branch that a compiler or a CUDA graph takes.
    from evoopt.optim.generated import marfinetz2025 as module

    for step in (0, 1, 50, 99, 100, 777, 1000, 1200):
        number = module._schedule_factor(float(step), warmup_steps=100, total_steps=1000)
        tensor = module._schedule_factor(
            torch.tensor(float(step), dtype=torch.float64), warmup_steps=100, total_steps=1000
        )
        assert float(tensor) == pytest.approx(number, rel=1e-14, abs=1e-16)
    assert make(Marfinetz2025, weight_and_bias()).param_groups[0]["schedule_step"].dtype == torch.float64
