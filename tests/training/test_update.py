"""The batched update against the scalar definition and against the optimizer class."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from evoopt.optim import PRESETS, TERMS, EvolvedOptimizer, UpdateRule
from evoopt.training import batched_update
from evoopt.training.batched_update import BatchedUpdate, Compile
from evoopt.training.coefficients import Program
from tests.optim.scalar_reference import train_scalar
from tests.rules import random_rules

STEPS = 20


def gradients(members: int, size: int, dtype: torch.dtype, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(members, size, generator=generator, dtype=dtype) for _ in range(STEPS)]


WAYS = ["uncompiled", "torch", "kernel"]


def run(rules: list[UpdateRule], weights: torch.Tensor, grads: list[torch.Tensor], way: str) -> torch.Tensor:
    weights = weights.clone()
    with pytest.MonkeyPatch.context() as patch:
        if way == "torch":
            patch.setattr(batched_update.update, "suits", lambda weights, terms: False)
        batched = BatchedUpdate(rules, STEPS, weights, "never" if way == "uncompiled" else "always")
    for step, grad in enumerate(grads):
        batched.step(weights, grad.clone(), step)
    return weights


@pytest.mark.parametrize("size", [1, 75])
@pytest.mark.parametrize("way", WAYS)
def test_every_rule_moves_a_weight_as_the_scalar_definition_does(way: str, size: int) -> None:
    rules = [
        *random_rules(25, seed=0),
        *(UpdateRule(((term.name, 0.7),), lr=1e-2) for term in TERMS),
        *PRESETS.values(),
        UpdateRule(()),
    ]
    weights = torch.linspace(-1, 1, len(rules) * size, dtype=torch.float64).view(-1, size)
    grads = gradients(len(rules), size, torch.float64)
    moved = run(rules, weights, grads, way)
    for i, rule in enumerate(rules):
        for k in {0, size // 2, size - 1}:
            path = train_scalar(rule, float(weights[i, k]), [float(grad[i, k]) for grad in grads])
            assert float(moved[i, k]) == pytest.approx(path[-1], rel=1e-12, abs=1e-13), rule


@pytest.mark.parametrize("rows", ["short", "long"])
def test_uncompiled_update_equals_the_optimizer_class(rows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched_update, "_SHORT_ROW", 0 if rows == "long" else 10**6)
    rules = random_rules(12, seed=1)
    weights = torch.randn(len(rules), 7, dtype=torch.float64)
    grads = gradients(len(rules), 7, torch.float64)
    moved = run(rules, weights, grads, "uncompiled")
    for i, rule in enumerate(rules):
        parameter = torch.nn.Parameter(weights[i].clone())
        optimizer = EvolvedOptimizer([parameter], rule, STEPS)
        for grad in grads:
            parameter.grad = grad[i].clone()
            optimizer.step()
        torch.testing.assert_close(moved[i], parameter.detach(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("way", "dtype"),
    [("uncompiled", torch.float64), *((way, torch.float32) for way in WAYS), ("kernel", torch.float64)],
)
def test_a_member_does_not_depend_on_its_neighbours_to_the_last_bit(way: str, dtype: torch.dtype) -> None:
    rules = random_rules(9, seed=2)
    weights, grads = torch.randn(9, 33, dtype=dtype), gradients(9, 33, dtype)
    together = run(rules, weights, grads, way)
    for i in (0, 8):
        alone = run(rules[i : i + 1], weights[i : i + 1], [g[i : i + 1] for g in grads], way)
        assert torch.equal(alone[0], together[i])


@pytest.mark.parametrize("compile", ["never", "always"])
def test_moments_follow_the_members_that_are_selected(compile: Compile) -> None:
    rules = random_rules(6, seed=3)
    weights, grads = torch.randn(6, 5, dtype=torch.float64), gradients(6, 5, torch.float64)
    index = torch.tensor([4, 1, 1])
    expected = run(rules, weights, grads, "uncompiled")[index]
    moved = weights.clone()
    batched = BatchedUpdate(rules, STEPS, moved, compile)
    for step in range(8):
        batched.step(moved, grads[step].clone(), step)
    batched.select(index)
    moved = moved[index]
    for step in range(8, STEPS):
        batched.step(moved, grads[step][index].clone(), step)
    torch.testing.assert_close(moved, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("compile", ["never", "always"])
def test_parts_of_a_population_can_be_updated_one_after_another(compile: Compile) -> None:
    rules = random_rules(5, seed=5)
    weights, grads = torch.randn(5, 4, dtype=torch.float64), gradients(5, 4, torch.float64)
    expected = run(rules, weights, grads, "uncompiled")
    batched = BatchedUpdate(rules, STEPS, weights, compile)
    for step, grad in enumerate(grads):
        for start, stop in ((0, 2), (2, 5)):
            batched.step(weights[start:stop], grad[start:stop].clone(), step, start, stop)
    torch.testing.assert_close(weights, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("compile", ["never", "always"])
def test_overflowing_gradients_of_one_term_do_not_reach_members_without_it(compile: Compile) -> None:
    sign, plain = UpdateRule((("sign_grad", 1.0),), lr=1e-2), UpdateRule((("rms_norm", 1.0),), lr=1e-2)
    weights = torch.zeros(2, 3)
    batched = BatchedUpdate([sign, plain], STEPS, weights, compile)
    batched.step(weights, torch.tensor([[torch.inf, -torch.inf, 1e30]] * 2), 0)
    assert weights[0].tolist() == pytest.approx([-1e-2, 1e-2, -1e-2])


def test_the_kernel_knows_every_term_and_leaves_others_to_torch() -> None:
    names = [term.name for term in TERMS]
    assert batched_update.update.suits(torch.zeros(1, 1), names)
    assert not batched_update.update.suits(torch.zeros(1, 1), [*names, "without_cpp"])


def test_mixed_populations_share_a_small_family_of_programs() -> None:
    programs = {Program.of([r.canonical() for r in random_rules(12, seed)]) for seed in range(30)}
    assert len(programs) <= 2
    assert Program.of([PRESETS["adam"]] * 3) == Program(("adam",), m=True, v=True)


def test_without_a_compiler_updates_run_uncompiled_after_one_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", broken)
    batched_update._compiler_works.cache_clear()
    batched_update.compiled_kernel.cache_clear()
    rules = random_rules(4, seed=6)
    weights, grads = torch.randn(4, 3, dtype=torch.float64), gradients(4, 3, torch.float64)
    try:
        with pytest.warns(UserWarning, match="torch.compile does not work here"):
            first = run(rules, weights, grads, "torch")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            second = run(rules, weights, grads, "torch")
    finally:
        batched_update._compiler_works.cache_clear()
        batched_update.compiled_kernel.cache_clear()
    assert torch.equal(first, run(rules, weights, grads, "uncompiled"))
    assert torch.equal(first, second)


def test_schedules_are_those_of_the_rule() -> None:
    rng = np.random.default_rng(0)
    rule = UpdateRule((("grad", 1.0),), lr=0.1, warmup_steps=5, cosine=True)
    weights = torch.zeros(1, 1, dtype=torch.float64)
    batched = BatchedUpdate([rule], 12, weights, "never")
    values = rng.normal(size=12).tolist()
    for step, value in enumerate(values):
        batched.step(weights, torch.tensor([[value]], dtype=torch.float64), step)
    assert float(weights) == pytest.approx(train_scalar(rule, 0.0, values)[-1], rel=1e-12)
