"""One rule, two classes: what people do to an optimizer (`scenarios`) gives the same weights from both.

`EvolvedOptimizer` interprets a rule, `from_rule` writes a class for it. For the rule of AdamW, torch's own
class says what good manners are.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import Parameter
from torch.optim import SGD, AdamW, Optimizer

from evoopt.export import from_rule
from evoopt.optim import EvolvedOptimizer, UpdateRule, preset
from tests.export.scenarios import SCENARIOS, TOTAL, Make, gradients, parameters, reloaded, steps, tensors
from tests.export.subjects import RULES, STAGED_RULES

COMPARED = {name: rule.canonical() for name, rule in RULES.items() if "random" not in name} | {
    "every_vector": STAGED_RULES["every_vector"].canonical(),
    "marfinetz2025": preset("marfinetz2025").canonical(),
    "adamw": preset("adamw"),
}


def interpreted(rule: UpdateRule) -> Make:
    return lambda params, total_steps=TOTAL, **options: EvolvedOptimizer(params, rule, total_steps, **options)


def exported(rule: UpdateRule) -> Make:
    cls = from_rule(rule)
    if not (rule.warmup_steps or rule.cosine):
        return lambda params, total_steps=TOTAL, schedule=True, **options: cls(params, **options)
    return partial(cls, total_steps=TOTAL)


def torchs(params: Any, total_steps: int = TOTAL, schedule: bool = True, **options: Any) -> Optimizer:
    return AdamW(params, **{"lr": 1e-3, "weight_decay": 1e-2} | options)


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
@pytest.mark.parametrize("rule", COMPARED.values(), ids=COMPARED)
def test_both_classes_end_with_the_same_weights(
    rule: UpdateRule, scenario: Callable[[Make], list[Parameter]]
) -> None:
    mine, theirs = scenario(interpreted(rule)), scenario(exported(rule))
    tolerance = max(1e-12, 16 * torch.finfo(mine[0].dtype).eps)  # their roundings come in another order
    torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance, equal_nan=True)
    assert not torch.equal(mine[0], tensors(mine[0].dtype)[0])


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_the_rule_of_adamw_behaves_as_torchs_adamw(scenario: Callable[[Make], list[Parameter]]) -> None:
    mine, theirs = scenario(interpreted(preset("adamw"))), scenario(torchs)
    relative = 10 * torch.finfo(mine[0].dtype).eps  # torch rounds in another order
    torch.testing.assert_close(mine, theirs, rtol=relative, atol=relative)


both = pytest.mark.parametrize("kind", [interpreted, exported])


@both
@pytest.mark.parametrize("count", [TOTAL, TOTAL + 3])
def test_a_training_beyond_the_end_of_its_schedule_is_told_once(
    kind: Callable[..., Make], count: int
) -> None:
    params = tensors()
    optimizer = kind(COMPARED["cosine"])(params)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        steps(optimizer, params, count)
    assert [str(w.message) for w in caught] == [
        f"{type(optimizer).__name__}: the schedule of total_steps={TOTAL} is over and the learning rate 0; "
        "to train on, set 'total_steps' of every group in param_groups"
    ] * (count > TOTAL)
    end = params[0].detach().clone()
    optimizer.param_groups[0]["total_steps"] = 2 * TOTAL
    steps(optimizer, params, 1)
    assert not torch.equal(params[0], end)


@both
@pytest.mark.parametrize("given", [np.int64(9), np.float64(9), 9.0, torch.tensor(9)], ids=repr)
def test_any_whole_number_of_steps_can_be_saved(kind: Callable[..., Make], given: Any) -> None:
    optimizer = kind(COMPARED["scheduled"])(tensors(), total_steps=given)
    assert (
        reloaded(optimizer, kind(COMPARED["scheduled"]), total_steps=9).state_dict()["param_groups"][0][
            "total_steps"
        ]
        == 9
    )


@both
def test_a_length_given_to_the_class_replaces_the_loaded_one_and_says_so(kind: Callable[..., Make]) -> None:
    make = kind(COMPARED["scheduled"])
    params = tensors()
    optimizer = make(params)
    steps(optimizer, params)
    with pytest.warns(UserWarning, match=f"total_steps={2 * TOTAL} stays, though .* made with {TOTAL}$"):
        longer = reloaded(optimizer, make, total_steps=2 * TOTAL)
    assert longer.param_groups[0]["total_steps"] == 2 * TOTAL
    before = [p.detach().clone() for p in parameters(longer)]
    steps(longer, parameters(longer), 1)
    assert not torch.equal(parameters(longer)[0], before[0])


@both
@pytest.mark.parametrize("given", [0, -1, 97.5, float("nan"), float("inf")])
def test_a_length_that_is_none_is_refused(kind: Callable[..., Make], given: float) -> None:
    with pytest.raises(ValueError, match=f"^Invalid total_steps value: {given}$"):
        kind(COMPARED["scheduled"])(tensors(), total_steps=given)


@both
@pytest.mark.parametrize("rule", ["scheduled", "adamw"])
def test_a_step_without_any_gradient_changes_nothing(kind: Callable[..., Make], rule: str) -> None:
    params = tensors()
    optimizer = kind(COMPARED[rule])(params)
    steps(optimizer, params, 3)
    before = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(params)
    optimizer.zero_grad()
    optimizer.step()
    torch.testing.assert_close((optimizer.state_dict(), params), before, rtol=0, atol=0)


@both
@pytest.mark.parametrize("rule", COMPARED.values(), ids=COMPARED)
def test_groups_of_a_state_dict_are_json(kind: Callable[..., Make], rule: UpdateRule) -> None:
    params = tensors()
    optimizer = kind(rule)(params, lr=np.float64(0.01))
    steps(optimizer, params)
    state_dict = copy.deepcopy(optimizer.state_dict())
    (read,) = json.loads(json.dumps(state_dict["param_groups"]))
    assert read.get("schedule_step", 5) == 5
    go_on = copy.deepcopy(params)
    fresh = kind(rule)(go_on)
    fresh.load_state_dict({**state_dict, "param_groups": [read]})
    for of, opt in ((params, optimizer), (go_on, fresh)):
        steps(opt, of)
    torch.testing.assert_close(go_on, params, rtol=0, atol=0)


def test_the_state_of_torchs_adamw_is_gone_on_from() -> None:
    rule, found = COMPARED["marfinetz2025"], []
    for kind in (interpreted, exported):
        params = tensors()
        adamw = AdamW(params, lr=0.02)
        steps(adamw, params)
        optimizer = kind(rule)(params)
        optimizer.load_state_dict(adamw.state_dict())
        group = optimizer.param_groups[0]
        assert [group[name] for name in ("lr", "total_steps", "schedule_step")] == [0.02, TOTAL, 5]
        group["eps"] = rule.eps  # loaded, but not an option of both
        steps(optimizer, params)
        found.append(params)
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


@both
def test_the_state_of_an_optimizer_without_these_averages_is_refused(kind: Callable[..., Make]) -> None:
    params = tensors()
    sgd = SGD(params, lr=0.02, momentum=0.9)
    steps(sgd, params)
    optimizer = kind(COMPARED["marfinetz2025"])(params)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(
        ValueError,
        match=r"^(EvolvedOptimizer|EvolvedRule) cannot load the state of another optimizer: "
        r"it has no exp_avg, exp_avg_sq, step$",
    ):
        optimizer.load_state_dict(sgd.state_dict())
    assert optimizer.state_dict() == before


@both
def test_every_group_may_bring_its_own_length_of_training(kind: Callable[..., Make]) -> None:
    params = tensors()
    groups = [{"params": params[:2], "total_steps": np.int64(9)}, {"params": params[2:], "schedule": False}]
    optimizer = kind(COMPARED["cosine"])(groups, total_steps=None)
    assert type(optimizer.param_groups[0]["total_steps"]) is int
    steps(optimizer, params, 9)
    end = [p.detach().clone() for p in params]
    with pytest.warns(UserWarning, match="the schedule of total_steps=9 is over"):
        steps(optimizer, params, 1)
    assert torch.equal(params[0], end[0])
    assert not torch.equal(params[2], end[2])
    for bad in ({}, {"total_steps": 0}, {"total_steps": 1.5}):
        with pytest.raises(ValueError, match="total_steps"):
            optimizer.add_param_group({"params": [Parameter(torch.ones(2))], **bad})
    assert len(optimizer.param_groups) == 2


@both
def test_a_warmup_alone_needs_no_length_of_training(kind: Callable[..., Make]) -> None:
    params, expected = tensors(), tensors()
    for of, total_steps in ((params, None), (expected, TOTAL)):
        steps(kind(COMPARED["warmup"])(of, total_steps=total_steps), of)
    torch.testing.assert_close(params, expected, rtol=0, atol=0)


@both
@pytest.mark.parametrize("name", ["lr", "weight_decay"])
def test_negative_values_are_refused(kind: Callable[..., Make], name: str) -> None:
    with pytest.raises(ValueError, match=r"^Invalid (learning rate|weight_decay value): -1"):
        kind(COMPARED["scheduled"])(tensors(), **{name: -1.0})


@both
def test_sparse_gradients_are_refused_before_anything_moves(kind: Callable[..., Make]) -> None:
    params = tensors()[:2]
    gradients(params)
    params[1].grad = torch.ones(4, dtype=torch.float64).to_sparse()
    with pytest.raises(
        RuntimeError, match=r"^(EvolvedOptimizer|EvolvedRule) does not support sparse gradients$"
    ):
        kind(COMPARED["scheduled"])(params).step()
    assert torch.equal(params[0], tensors()[0])


@both
def test_a_state_dict_with_another_number_of_groups_is_refused(kind: Callable[..., Make]) -> None:
    make = kind(COMPARED["scheduled"])
    two = make([{"params": p} for p in tensors()[:2]])
    with pytest.raises(ValueError, match=r"^loaded state dict has a different number of parameter groups$"):
        two.load_state_dict(make(tensors()[:2]).state_dict())


def test_a_state_dict_from_before_there_were_options_loads() -> None:
    make = interpreted(COMPARED["scheduled"])
    params = tensors()
    optimizer = make(params)
    steps(optimizer, params)
    state = copy.deepcopy(optimizer.state_dict())
    for name in ("total_steps", "schedule", "maximize"):
        del state["param_groups"][0][name]
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["total_steps"] == TOTAL
    steps(optimizer, params, 1)
