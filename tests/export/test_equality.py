"""The exported class, the interpreter and the scalar definition make the same steps."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from evoopt.export.classes import from_rule
from evoopt.export.write_presets import PRESET_CLASSES
from evoopt.optim import PRESETS, STAGED_PRESETS, STAGES, EvolvedOptimizer, Stage, UpdateRule, generated
from tests.counts import times
from tests.export.subjects import RULES, STAGED_RULES, make
from tests.optim.scalar_reference import train_scalar
from tests.optim.test_stages import asking
from tests.rules import random_rule, random_staged_rule

STEPS = 50


def gradients(seed: int) -> Tensor:
    grads = torch.randn(STEPS, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    grads[7] = 0.0  # signs and quotients of zero are where implementations differ
    return grads


def start() -> Tensor:
    return torch.linspace(-2, 2, 5, dtype=torch.float64)


def path(optimizer_of: Any, grads: Tensor) -> Tensor:
    # Two parameters, one of them a matrix, so that lists have more than one element.
    params = [Parameter(start()[:1]), Parameter(start()[1:].reshape(2, 2))]
    optimizer = optimizer_of(params)
    found = []
    for grad in grads:
        params[0].grad, params[1].grad = grad[:1].clone(), grad[1:].reshape(2, 2).clone()
        optimizer.step()
        found.append(torch.cat([p.detach().flatten() for p in params]))
    return torch.stack(found)


def scalar_path(rule: UpdateRule, grads: Tensor) -> Tensor:
    columns = [train_scalar(rule, w, grads[:, k].tolist()) for k, w in enumerate(start().tolist())]
    return torch.tensor(columns, dtype=torch.float64).T


def assert_equal_paths(rule: UpdateRule, cls: type[Any], grads: Tensor) -> None:
    def interpreter(of: UpdateRule) -> Tensor:
        return path(lambda params: EvolvedOptimizer(params, of, total_steps=STEPS), grads)

    loop = path(lambda params: make(cls, params, foreach=False, total_steps=STEPS), grads)
    foreach = path(lambda params: make(cls, params, foreach=True, total_steps=STEPS), grads)
    assert torch.equal(loop, foreach)  # the same operations in the same order
    for other in (interpreter(rule), interpreter(rule.canonical()), scalar_path(rule, grads)):
        torch.testing.assert_close(loop, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_class_makes_the_steps_of_its_rule(name: str) -> None:
    assert_equal_paths(PRESETS[name], getattr(generated, PRESET_CLASSES[name]), gradients(0))


@pytest.mark.parametrize("name", RULES)
def test_every_term_and_schedule_makes_the_steps_of_its_rule(name: str) -> None:
    assert_equal_paths(RULES[name], from_rule(RULES[name], "MyOptimizer"), gradients(1))


@pytest.mark.parametrize("seed", range(times(200)))
def test_a_random_class_makes_the_steps_of_its_rule(seed: int) -> None:
    rule = random_rule(seed)
    assert_equal_paths(rule, from_rule(rule, "MyOptimizer"), gradients(seed))


SHAPES = [(4, 3), (3, 4), (3, 2, 2, 2), (6,)]
SHORT = 20


def path_with_stages(optimizer_of: Any, seed: int) -> tuple[Tensor, Tensor]:
    """Weights after some steps and at the end, and averaged ones; the last matrix is told to be none."""
    generator = torch.Generator().manual_seed(seed)

    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    params = [Parameter(draw(shape)) for shape in [*SHAPES, (4, 3)]]
    optimizer = optimizer_of([{"params": params[:-1]}, {"params": params[-1:], "matrix": False}])
    found = []
    for step in range(SHORT):
        for p in params:
            p.grad = draw(p.shape) if step != 7 else torch.zeros_like(p)
        optimizer.step()
        if step in (0, 1, 7, SHORT - 1):
            found += [p.detach().clone().flatten() for p in params]
    with getattr(optimizer, "averaged", nullcontext)():
        averaged = torch.cat([p.detach().clone().flatten() for p in params])
    return torch.cat(found), averaged


def assert_equal_paths_with_stages(rule: UpdateRule, cls: type[Any], seed: int = 0) -> None:
    class_path, foreach = (
        path_with_stages(lambda params: make(cls, params, total_steps=SHORT, foreach=foreach), seed)  # noqa: B023
        for foreach in (False, True)
    )
    torch.testing.assert_close(foreach, class_path, rtol=1e-13, atol=1e-13)
    for of in (rule, rule.canonical()):
        expected = path_with_stages(lambda params: EvolvedOptimizer(params, of, total_steps=SHORT), seed)  # noqa: B023
        torch.testing.assert_close(class_path, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", STAGED_PRESETS)
def test_a_preset_class_with_stages_makes_the_steps_of_its_rule(name: str) -> None:
    assert_equal_paths_with_stages(STAGED_PRESETS[name], getattr(generated, PRESET_CLASSES[name]))


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: f"{stage.part}-{stage.name}")
def test_every_stage_makes_the_steps_of_its_rule(stage: Stage) -> None:
    rule = asking(stage)
    if stage.name == "slow_beta":
        rule = replace(rule, terms=(*rule.terms, ("slow_momentum", 0.5)))
    assert_equal_paths_with_stages(rule, from_rule(rule, "MyOptimizer"))


@pytest.mark.parametrize("name", STAGED_RULES)
def test_stages_together_make_the_steps_of_their_rule(name: str) -> None:
    assert_equal_paths_with_stages(STAGED_RULES[name], from_rule(STAGED_RULES[name], "MyOptimizer"))


@pytest.mark.parametrize("seed", range(50, 66))
def test_a_random_class_with_stages_makes_the_steps_of_its_rule(seed: int) -> None:
    rule = random_staged_rule(seed)
    assert_equal_paths_with_stages(rule, from_rule(rule, "MyOptimizer"), seed)
