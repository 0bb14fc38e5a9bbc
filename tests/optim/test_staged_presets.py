"""Presets with stages make the steps of the publications, which `tests.optim.published` writes out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evoopt.optim import STAGED_PRESETS, EvolvedOptimizer, UpdateRule, preset
from tests.optim import published, published_matrices
from tests.optim.test_published import SHAPES, STEPS, draw, path, problem, torch_path


def rule_path(rule: UpdateRule, weight: Tensor, grads: Tensor, **options: Any) -> Tensor:
    def make(params: list[nn.Parameter]) -> EvolvedOptimizer:
        return EvolvedOptimizer(params, rule, total_steps=STEPS, **options)

    return torch_path(make, weight, grads)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


ELEMENTWISE = {
    "ademamix": published.ademamix,
    "cautious_adamw": published.cautious_adamw,
    "mars_adamw": published.mars_adamw,
    "laprop": published.laprop,
    "lamb": published.lamb,
}


@pytest.mark.parametrize("shape", [(6, 4), (7,), (3, 2, 2, 2)])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_presets_are_their_publications(name: str, shape: tuple[int, ...]) -> None:
    weight, grads = problem(*shape)
    options = {} if name == "laprop" else {"weight_decay": 0.1}
    expected = path(ELEMENTWISE[name], weight, grads, **options)
    assert_close(rule_path(preset(name), weight, grads, **options), expected)


@pytest.mark.parametrize("shape", [*SHAPES, (6, 3, 2, 2)])
@pytest.mark.parametrize("hidden", [True, False])
def test_muon_is_its_publication_with_adam_for_what_is_no_hidden_matrix(
    shape: tuple[int, ...], hidden: bool
) -> None:
    weight, grads = problem(*shape)
    expected = path(
        published_matrices.with_adamw, weight, grads, matrix=published_matrices.muon, hidden=hidden,
        adam_lr=1e-3, weight_decay=0.1, **({"lr": 1e-3, "adjust": "match_rms_adamw"} if hidden else {}),
    )  # fmt: skip
    actual = torch_path(
        lambda p: EvolvedOptimizer([{"params": p, "matrix": hidden}], preset("muon")), weight, grads
    )
    assert_close(actual, expected)


@pytest.mark.parametrize("shape", [*SHAPES, (6, 3, 2, 2)])
def test_muon_sgd_is_orthogonal_momentum_and_sgd_of_torch(shape: tuple[int, ...]) -> None:
    weight, grads = problem(*shape)
    momenta = published_matrices.orthogonal_momenta(list(grads), 0.94, False, None)
    expected = weight - 0.1 * torch.stack([o.view_as(weight) for o in momenta]).cumsum(0)
    assert_close(rule_path(preset("muon_sgd"), weight, grads), expected)
    bias, grads = problem(7)
    torchs = torch_path(lambda p: torch.optim.SGD(p, lr=0.1 * 15 * (1 - 0.94), momentum=0.94), bias, grads)
    assert_close(rule_path(preset("muon_sgd"), bias, grads), torchs)


@pytest.mark.parametrize("shape", [*SHAPES, (6, 3, 2, 2)])
def test_normuon_is_its_publication(shape: tuple[int, ...]) -> None:
    weight, grads = problem(*shape)
    expected = path(published_matrices.normuon, weight, grads, lr=1e-3, weight_decay=0.1)
    assert_close(rule_path(preset("normuon"), weight, grads), expected)


@pytest.mark.parametrize("shape", [*SHAPES, (6, 3, 2, 2)])
def test_soap_is_its_publication_with_one_side(shape: tuple[int, ...]) -> None:
    weight, grads = problem(*shape)
    expected = path(published_matrices.soap, weight, grads, weight_decay=0.1)
    torch.testing.assert_close(
        rule_path(preset("soap"), weight, grads, weight_decay=0.1), expected, rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_adafactor_moments_are_adam_with_factors(shape: tuple[int, int]) -> None:
    weight, grads = problem(*shape)
    expected = path(published_matrices.adam_factored, weight, grads)
    assert_close(rule_path(preset("adafactor_moments"), weight, grads, weight_decay=0.0), expected)


def test_a_vector_has_no_factors() -> None:
    weight, grads = problem(7)
    expected = path(published.adamw, weight, grads)
    assert_close(rule_path(preset("adafactor_moments"), weight, grads), expected)


def test_cautious_decay_is_its_publication() -> None:
    weight, grads = problem(6, 4)
    rule = UpdateRule((("adam", 1.0),), weight_decay=0.1, cautious_decay=True)
    assert_close(rule_path(rule, weight, grads), path(published.adamw_with_cautious_decay, weight, grads))


def read_outs(rule: UpdateRule, weight: Tensor, grads: Tensor) -> tuple[Tensor, Tensor]:
    """Averages and last weights after each step."""
    parameter = nn.Parameter(weight.clone())
    optimizer = EvolvedOptimizer([parameter], rule, total_steps=STEPS)
    averages, last = [], []
    for grad in grads:
        parameter.grad = grad.clone()
        optimizer.step()
        with optimizer.averaged():
            averages.append(parameter.detach().clone())
        last.append(parameter.detach().clone())
    return torch.stack(averages), torch.stack(last)


def test_adamw_ema_reads_the_average_of_adamw() -> None:
    weight, grads = problem(6, 4)
    averages, last = read_outs(preset("adamw_ema"), weight, grads)
    expected = path(published.adamw, weight, grads)
    assert_close(last, expected)
    assert_close(averages, torch.stack(list(published.averaged(list(expected)))))


@pytest.mark.parametrize("fraction", [0.25, 0.5, 1.0])
def test_the_mean_readout_is_that_of_the_last_part_and_before_it_the_last_weights(fraction: float) -> None:
    weight, grads = problem(6, 4)
    rule = replace(preset("adamw"), readout="mean", mean_fraction=fraction)
    averages, last = read_outs(rule, weight, grads)
    before = STEPS - round(fraction * STEPS)
    assert torch.equal(averages[:before], last[:before])
    assert_close(averages[-1], published.mean_of_the_last(list(last), fraction=fraction))


RATES: dict[str, tuple[dict[str, Any], Callable[[float], float]]] = {
    "linear": ({}, lambda x: 1 - x),
    "cosine": ({"decay_start": 0.2}, lambda x: 0.5 * (1 + math.cos(math.pi * max(0, (x - 0.2) / 0.8)))),
    "sqrt": ({"decay_start": 0.8}, lambda x: 1 - math.sqrt(max(0, (x - 0.8) / 0.2))),
    "steps": ({}, lambda x: (1, 0.1, 0.01, 0.001, 5e-4)[sum(x >= at for at in (0.4, 0.6, 0.8, 0.9))]),
    "power": ({"decay_power": 2.0, "decay_floor": 0.1}, lambda x: 0.1 + 0.9 * (1 - x) ** 2),
}  # fmt: skip


@pytest.mark.parametrize("shape", RATES)
def test_schedules_in_fractions_are_the_rates_that_they_say(shape: str) -> None:
    constants, decay = RATES[shape]
    rule = replace(preset("adamw"), lr=0.01, warmup_fraction=0.1, decay_shape=shape, **constants)
    weight, grads = problem(6, 4)
    rates: Sequence[float] = [0.01 * min(1, (t + 1) / 5) * decay(t / STEPS) for t in range(STEPS)]
    assert_close(rule_path(rule, weight, grads), path(published.adamw, weight, grads, lr=rates))
    assert rule.factor(STEPS, STEPS) == rule.factor(2 * STEPS, STEPS) == pytest.approx(rule.decay_floor)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_coupled_decay_is_that_of_torch(name: str) -> None:
    plain = torch.optim.Adam if name == "adam" else torch.optim.SGD
    rule = replace(preset("adam"), lr=0.01, l2=0.3)
    if name == "sgd":
        rule = replace(rule, terms=(("grad", 1.0),), use_m=False, use_v=False)
    weight, grads = problem(6, 4)
    expected = torch_path(lambda p: plain(p, lr=0.01, weight_decay=0.3), weight, grads)
    assert_close(rule_path(rule, weight, grads), expected)


def test_presets_train_a_network() -> None:
    x, y = draw(64, 6).float(), draw(64, 2, seed=1).float()
    for name, rule in STAGED_PRESETS.items():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 2))
        optimizer = EvolvedOptimizer(model.parameters(), rule, lr=1e-2)
        losses = []
        for _ in range(60):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.9 * losses[0], name
