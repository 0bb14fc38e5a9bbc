"""Plain forms of published optimizers equal torch's where it has them and have known properties."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.optim.published import (
    adamw,
    adamw_with_cautious_decay,
    ademamix,
    ademamix_alpha,
    ademamix_beta3,
    averaged,
    cautious_adamw,
    lamb,
    laprop,
    mars_adamw,
    mean_of_the_last,
)
from tests.optim.test_rule_steps import assert_same_path

STEPS = 50
SHAPES = [(8, 5), (5, 8), (6, 6)]
Algorithm = Callable[..., Iterator[Tensor]]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(*shape: int) -> tuple[Tensor, Tensor]:
    """Weights and a gradient for each step; one of them is zero."""
    grads = draw(STEPS, *shape, seed=1)
    grads[7] = 0.0
    return draw(*shape), grads


def path(algorithm: Algorithm, weight: Tensor, grads: Sequence[Tensor] | Tensor, **options: Any) -> Tensor:
    """Weights after each step, the step first."""
    return torch.stack(list(algorithm(weight, list(grads), **options)))


def torch_path(
    make: Callable[..., torch.optim.Optimizer], weight: Tensor, grads: Tensor, rates: Sequence[float] = ()
) -> Tensor:
    parameter = torch.nn.Parameter(weight.clone())
    optimizer = make([parameter])
    weights = []
    for step, grad in enumerate(grads):
        if rates:
            optimizer.param_groups[0]["lr"] = rates[step]
        parameter.grad = grad.clone()
        optimizer.step()
        weights.append(parameter.detach().clone())
    return torch.stack(weights)


def moves(weight: Tensor, weights: Tensor) -> Tensor:
    """What each step subtracted."""
    return torch.cat([weight[None], weights[:-1]]) - weights


def test_adamw_is_that_of_torch_at_any_schedule() -> None:
    weight, grads = problem(6, 4)
    rates = [0.01 * (1 - t / STEPS) for t in range(STEPS)]
    expected = torch_path(lambda p: torch.optim.AdamW(p, weight_decay=0.1), weight, grads, rates)
    assert_same_path(path(adamw, weight, grads, lr=rates, weight_decay=0.1), expected)


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [
        (mars_adamw, {"gamma": 0.0, "clip": False}),
        (ademamix, {"alpha": 0.0}),
        (ademamix, {"beta3": 0.9, "alpha": 0.0, "warmup": 20}),
    ],
)
def test_without_its_own_part_it_is_adamw(algorithm: Algorithm, options: dict[str, Any]) -> None:
    weight, grads = problem(6, 4)
    common = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1}
    assert_same_path(
        path(algorithm, weight, grads, **common, **options), path(adamw, weight, grads, **common)
    )


@pytest.mark.parametrize("count", [False, True])
def test_a_cautious_step_goes_with_the_gradient_and_keeps_the_mean_of_the_mask(count: bool) -> None:
    weight, grads = problem(6, 4)
    common = {"lr": 1e-2, "weight_decay": 0.0, "eps": 1e-6}
    plain = moves(weight, path(adamw, weight, grads, **common))
    cautious = moves(weight, path(cautious_adamw, weight, grads, count=count, **common))
    factors = cautious / plain
    assert (cautious * grads >= -1e-15).all()
    assert torch.equal(cautious[7], torch.zeros(6, 4, dtype=torch.float64))
    for g, u, factor in zip(grads, plain, factors):
        kept = int((g * u > 0).sum())
        expected = kept / (kept + 1) if count else float(kept > 0)
        assert float(factor.mean()) == pytest.approx(expected, abs=1e-10)
        assert float(factor.max()) == pytest.approx(expected * 24 / max(kept, 1), abs=1e-10)


def test_caution_spares_the_decay() -> None:
    weight, g = problem(6, 4)[0], draw(6, 4, seed=1)
    weights = path(cautious_adamw, weight, [g, -0.01 * g], lr=0.1, weight_decay=0.5)
    assert_same_path(weights[1], 0.95 * weights[0])  # the second gradient is against all of the momentum


@pytest.mark.parametrize("algorithm", [cautious_adamw, mars_adamw, ademamix, laprop])
def test_without_a_gradient_nothing_moves(algorithm: Algorithm) -> None:
    weight = draw(6, 4)
    moved = path(algorithm, weight, torch.zeros(3, 6, 4, dtype=torch.float64))
    assert torch.equal(moved, weight.expand_as(moved))


def test_caution_changes_nothing_where_all_gradients_agree() -> None:
    weight, grads = problem(6, 4)
    grads = grads[:1].abs() + draw(STEPS, 6, 4).abs()
    common = {"lr": 1e-2, "weight_decay": 0.1, "eps": 1e-8}
    assert_same_path(path(cautious_adamw, weight, grads, **common), path(adamw, weight, grads, **common))


def test_cautious_decay_spares_the_weights_that_move_away_from_zero() -> None:
    weight = torch.tensor([2.0, -2.0, 2.0, -2.0, 2.0], dtype=torch.float64)
    grads = torch.tensor([[1.0, 1.0, -1.0, -1.0, 0.0]], dtype=torch.float64)
    moved = path(adamw_with_cautious_decay, weight, grads, lr=0.1, weight_decay=0.5, eps=1e-15)
    expected = [2 - 0.1 - 0.1, -2 - 0.1, 2 + 0.1, -2 + 0.1 + 0.1, 2 - 0.1]
    assert_same_path(moved, torch.tensor([expected], dtype=torch.float64))


def test_mars_sees_no_difference_between_equal_gradients() -> None:
    weight, g = draw(6, 4), 1e-3 * draw(6, 4, seed=1)
    common = {"lr": 1e-2, "beta1": 0.95, "beta2": 0.99, "weight_decay": 0.1}
    grads = [g] * STEPS
    assert_same_path(path(mars_adamw, weight, grads, **common), path(adamw, weight, grads, **common))


def test_mars_amplifies_what_changed_by_gamma_beta_over_one_minus_beta() -> None:
    weight, grads = problem(3)
    options = {"lr": 0.1, "beta1": 0.5, "beta2": 0.5, "gamma": 0.2, "clip": False, "weight_decay": 0.0}
    corrected = torch.cat([1.2 * grads[:1], 1.2 * grads[1:] - 0.2 * grads[:-1]])
    expected = path(adamw, weight, corrected, lr=0.1, beta1=0.5, beta2=0.5, weight_decay=0.0)
    assert_same_path(path(mars_adamw, weight, grads, previous=torch.zeros(3), **options), expected)
    corrected[0] = grads[0]
    expected = path(adamw, weight, corrected, lr=0.1, beta1=0.5, beta2=0.5, weight_decay=0.0)
    assert_same_path(path(mars_adamw, weight, grads, **options), expected)


def test_mars_with_clipping_forgets_the_size_of_long_gradients_and_leaves_short_ones() -> None:
    weight, grads = problem(6, 4)
    assert_same_path(path(mars_adamw, weight, 1e3 * grads), path(mars_adamw, weight, 1e2 * grads))
    short = 1e-2 * grads
    assert_same_path(path(mars_adamw, weight, short), path(mars_adamw, weight, short, clip=False))


def test_schedulers_of_ademamix_begin_at_adam_and_end_at_their_values() -> None:
    alphas = [ademamix_alpha(t, 8.0, 40) for t in range(60)]
    betas = [ademamix_beta3(t, 0.9, 0.9999, 40) for t in range(60)]
    assert (alphas[0], alphas[10], alphas[40:]) == (0.0, 2.0, [8.0] * 20)
    assert betas[0] == pytest.approx(0.9, rel=1e-12)
    assert betas[40:] == [0.9999] * 20
    half_lives = [math.log(0.5) / math.log(beta) for beta in betas]
    slope = (half_lives[40] - half_lives[0]) / 40
    assert half_lives[:41] == pytest.approx([half_lives[0] + slope * t for t in range(41)], rel=1e-9)


def test_the_slow_momentum_of_ademamix_keeps_its_bias() -> None:
    weight, grads = problem(6, 4)
    twice = path(ademamix, weight, grads[:1], beta3=0.75, alpha=4.0, eps=1e-15)
    once = path(ademamix, weight, grads[:1], alpha=0.0, eps=1e-15)
    assert_same_path(moves(weight, twice), 2 * moves(weight, once))  # 1 + 4 * (1 - 0.75)


def test_the_warmup_of_ademamix_is_that_of_its_schedulers() -> None:
    weight, grads = problem(3)
    warm = path(ademamix, weight, grads[:1], beta3=0.99, alpha=4.0, warmup=5, eps=1e-15)
    beta3, alpha = ademamix_beta3(1, 0.9, 0.99, 5), ademamix_alpha(1, 4.0, 5)
    assert_same_path(warm, path(ademamix, weight, grads[:1], beta3=beta3, alpha=alpha, eps=1e-15))
    late = moves(weight, path(ademamix, weight, grads, beta3=0.99, alpha=4.0, warmup=5))
    assert not torch.allclose(late, moves(weight, path(ademamix, weight, grads, beta3=0.99, alpha=4.0)))


def test_the_first_step_of_laprop_has_the_size_of_the_rate() -> None:
    weight, grads = problem(6, 4)
    assert_same_path(moves(weight, path(laprop, weight, grads, lr=0.01))[0], 0.01 * grads[0].sign())


def test_laprop_is_adam_without_momentum_or_at_a_constant_gradient() -> None:
    weight, grads = problem(6, 4)
    common = {"lr": 1e-2, "beta2": 0.95, "eps": 1e-12}
    expected = path(adamw, weight, grads, beta1=0.0, weight_decay=0.0, **common)
    assert_same_path(path(laprop, weight, grads, beta1=0.0, **common), expected)
    constant = grads[:1].expand(STEPS, 6, 4)
    expected = path(adamw, weight, constant, weight_decay=0.0, **common)
    assert_same_path(path(laprop, weight, constant, **common), expected)


def test_laprop_at_beta2_zero_is_the_momentum_of_signs() -> None:
    weight, grads = problem(6, 4)
    expected = torch_path(lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9), weight, grads.sign())
    corrections = torch.tensor([(1 - 0.9) / (1 - 0.9**t) for t in range(1, STEPS + 1)]).double()
    moved = moves(weight, path(laprop, weight, grads, lr=1e-3, beta2=0.0))
    torch.testing.assert_close(
        moved, moves(weight, expected) * corrections[:, None, None], rtol=1e-6, atol=1e-12
    )


def test_a_step_of_lamb_is_as_long_as_the_rate_times_the_weights() -> None:
    weight, grads = problem(6, 4)
    weights = path(lamb, weight, grads, lr=0.01)
    before = torch.cat([weight[None], weights[:-1]])
    lengths = moves(weight, weights).flatten(1).norm(dim=1)
    assert_same_path(lengths, 0.01 * before.flatten(1).norm(dim=1))


def test_lamb_scales_with_the_weights_and_forgets_the_size_of_gradients() -> None:
    weight, grads = problem(6, 4)
    options = {"lr": 0.01, "weight_decay": 0.0, "eps": 1e-15}
    assert_same_path(path(lamb, 8 * weight, 2 * grads, **options), 8 * path(lamb, weight, grads, **options))


def test_lamb_starts_from_zero_weights_as_adam() -> None:
    weight, grads = torch.zeros(6, 4).double(), problem(6, 4)[1][:1]
    common = {"lr": 0.01, "weight_decay": 0.1, "eps": 1e-6}
    assert_same_path(path(lamb, weight, grads, **common), path(adamw, weight, grads, **common))


@pytest.mark.parametrize("decay", [0.9, 0.999])
def test_averages_of_weights_are_those_of_torch(decay: float) -> None:
    weight, grads = problem(6, 4)
    weights = path(adamw, weight, grads, lr=0.1)
    model = torch.nn.Linear(4, 6, bias=False, dtype=torch.float64)
    swa_utils = torch.optim.swa_utils
    ema = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(decay))
    swa = swa_utils.AveragedModel(model)
    for step, value in enumerate(weights):
        model.weight.data.copy_(value)
        ema.update_parameters(model)
        if step >= STEPS - 10:
            swa.update_parameters(model)
    last = list(averaged(weights, decay=decay, start=weights[0]))[-1]
    assert_same_path(last, ema.module.weight.detach())
    assert_same_path(mean_of_the_last(weights, fraction=0.2), swa.module.weight.detach())


def test_an_average_without_bias_starts_at_the_first_weights_and_weighs_by_age() -> None:
    weights = draw(STEPS, 3)
    corrected = list(averaged(weights, decay=0.9))
    assert_same_path(corrected[0], weights[0])
    ages = 0.9 ** torch.arange(STEPS - 1, -1, -1, dtype=torch.float64)
    assert_same_path(corrected[-1], (ages[:, None] * weights).sum(0) / ages.sum())


def test_an_average_from_the_initial_weights_keeps_their_share() -> None:
    start, weights = draw(3, seed=5), draw(STEPS, 3)
    biased, corrected = (list(averaged(weights, decay=0.9, start=s))[-1] for s in (start, None))
    assert_same_path(biased, 0.9**STEPS * start + (1 - 0.9**STEPS) * corrected)
