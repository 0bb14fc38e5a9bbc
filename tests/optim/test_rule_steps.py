"""The optimizer class makes the steps of the plain scalar definition, and presets are their namesakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from evoopt.optim import MORE_TERMS, PRESETS, TERMS, EvolvedOptimizer, UpdateRule, preset
from tests.optim.scalar_reference import published, train_scalar, written
from tests.rules import random_rule

STEPS = 60


def gradients(seed: int = 0, size: int = 6) -> Tensor:
    grads = torch.randn(STEPS, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    grads[7] = 0.0  # signs and quotients of zero are where implementations differ
    return grads


def start(size: int = 6) -> Tensor:
    return torch.linspace(-2, 2, size, dtype=torch.float64)


def train(make: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer], grads: Tensor) -> Tensor:
    parameter = torch.nn.Parameter(start(grads.shape[1]))
    optimizer = make([parameter])
    path = []
    for grad in grads:
        parameter.grad = grad.clone()
        optimizer.step()
        path.append(parameter.detach().clone())
    return torch.stack(path)


def train_rule(rule: UpdateRule, grads: Tensor) -> Tensor:
    return train(lambda params: EvolvedOptimizer(params, rule, total_steps=STEPS), grads)


def scalar_path(rule: UpdateRule, grads: Tensor) -> Tensor:
    columns = [train_scalar(rule, w, grads[:, k].tolist()) for k, w in enumerate(start().tolist())]
    return torch.tensor(columns, dtype=torch.float64).T


def assert_same_path(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", [term.name for term in (*TERMS, *MORE_TERMS)])
@pytest.mark.parametrize("use_m", [True, False])
@pytest.mark.parametrize("bias_correction", [True, False])
def test_every_term_equals_the_scalar_definition(name: str, use_m: bool, bias_correction: bool) -> None:
    rule = UpdateRule(
        ((name, 0.7),), lr=0.01, use_m=use_m, bias_correction=bias_correction, weight_decay=0.1, beta3=0.6,
        slow_beta=0.95, power=0.3,
    )  # fmt: skip
    grads = gradients()
    assert_same_path(train_rule(rule, grads), scalar_path(rule, grads))


def test_formulas_say_what_the_publications_define() -> None:
    for seed in range(20):
        values = torch.randn(7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
        numbers = dict(zip(("g", "m", "v", "m_prev", "eps", "beta1", "beta3"), values))
        numbers["v"] **= 2
        for name, value in published(**numbers).items():
            assert written(name, numbers) == pytest.approx(value, rel=1e-12), name


@pytest.mark.parametrize("seed", range(25))
def test_random_rules_equal_the_scalar_definition(seed: int) -> None:
    rule, grads = random_rule(seed), gradients(seed)
    assert_same_path(train_rule(rule, grads), scalar_path(rule, grads))


NAMESAKES = {
    "sgd": lambda params: torch.optim.SGD(params, lr=1e-2, momentum=0.9),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}


@pytest.mark.parametrize("name", NAMESAKES)
def test_presets_equal_their_namesakes_in_torch(name: str) -> None:
    grads = gradients(3)
    assert_same_path(train_rule(preset(name), grads), train(NAMESAKES[name], grads))


def test_lion_equals_its_published_update() -> None:
    grads, w, m = gradients(4), start(), torch.zeros(6, dtype=torch.float64)
    path = []
    for g in grads:
        w = w - 1e-4 * torch.sign(m * 0.9 + g * (1 - 0.9))
        m = m * 0.99 + g * (1 - 0.99)
        path.append(w)
    assert_same_path(train_rule(PRESETS["lion"], grads), torch.stack(path))


def test_published_genome_merges_to_its_published_weights() -> None:
    merged = dict(preset("marfinetz2025").canonical().terms)
    assert merged["sign_grad"] == pytest.approx(0.73444, abs=1e-5)
    assert merged["adam"] == pytest.approx(3.63520, abs=1e-5)


def test_frozen_parameters_and_closures() -> None:
    frozen, free = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimizer = EvolvedOptimizer([frozen, free], preset("adam"))

    def closure() -> float:
        optimizer.zero_grad()
        loss = (free**2).sum()
        loss.backward()
        return float(loss)

    assert optimizer.step(closure) == 2.0
    assert torch.equal(frozen, torch.ones(2))
    assert not torch.equal(free, torch.ones(2))


def test_a_cosine_rule_asks_for_total_steps() -> None:
    with pytest.raises(ValueError, match="total_steps"):
        EvolvedOptimizer([torch.nn.Parameter(torch.ones(1))], preset("marfinetz2025"))


def test_the_schedule_follows_the_training_not_the_parameter() -> None:
    rule = UpdateRule((("grad", 1.0),), lr=1.0, warmup_steps=4, use_m=False, use_v=False)
    late, other = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    optimizer = EvolvedOptimizer([late, other], rule)
    other.grad = torch.ones(1)
    optimizer.step()
    optimizer.step()  # the late one is frozen for two steps
    late.grad = torch.ones(1)
    optimizer.step()
    assert late.item() == pytest.approx(-3 / 4)
