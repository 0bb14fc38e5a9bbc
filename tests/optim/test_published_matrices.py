"""Plain forms of published matrix optimizers equal torch's where it has them and have known properties."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.optim.published import adamw
from tests.optim.published_matrices import (
    adafactor,
    adam_factored,
    muon,
    newton_schulz,
    normuon,
    rms,
    soap,
    with_adamw,
)
from tests.optim.test_published import SHAPES, STEPS, Algorithm, draw, moves, path, problem, torch_path
from tests.optim.test_rule_steps import assert_same_path


class WithoutBfloat16:
    """The module torch, in which bfloat16 is float64."""

    bfloat16 = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
def test_muon_is_that_of_torch_in_float64(
    shape: tuple[int, int], nesterov: bool, adjust: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.optim._muon.torch", WithoutBfloat16())
    monkeypatch.setattr(Tensor, "bfloat16", Tensor.clone)  # as torch 2.11 says it
    weight, grads = problem(*shape)
    expected = torch_path(
        lambda p: torch.optim.Muon(p, lr=0.02, weight_decay=0.1, nesterov=nesterov, adjust_lr_fn=adjust),
        weight,
        grads,
    )
    ours = path(muon, weight, grads, lr=0.02, weight_decay=0.1, nesterov=nesterov, adjust=adjust)
    assert_same_path(ours, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_muon_in_bfloat16_is_that_of_torch_up_to_its_rounding(shape: tuple[int, int]) -> None:
    weight, grads = problem(*shape)
    expected = torch_path(lambda p: torch.optim.Muon(p, lr=0.02, weight_decay=0.1), weight, grads)
    rounded = path(muon, weight, grads, lr=0.02, weight_decay=0.1, dtype=torch.bfloat16)
    assert rms(rounded - expected) < 0.02 * rms(rounded - weight)


def test_five_rounds_bring_singular_values_near_one_and_keep_singular_vectors() -> None:
    for shape in SHAPES:
        g = draw(*shape)
        u, sizes, v = torch.linalg.svd(g, full_matrices=False)
        inner = u.T @ newton_schulz(g) @ v.T
        values = inner.diagonal()
        assert_same_path(inner, torch.diag(values))
        assert (values[sizes > 0.1 * sizes.max()] > 0.6).all()
        assert (values < 1.3).all()
    assert torch.equal(newton_schulz(torch.zeros(3, 2)), torch.zeros(3, 2))


def test_muon_turns_with_its_matrix_and_forgets_the_size_of_gradients() -> None:
    weight, grads = problem(8, 5)
    left, right = (torch.linalg.qr(draw(n, n, seed=n))[0] for n in (8, 5))
    turned = path(muon, left @ weight @ right, 7 * (left @ grads @ right), weight_decay=0.1)
    assert_same_path(turned, left @ path(muon, weight, grads, weight_decay=0.1) @ right)


@pytest.mark.parametrize("algorithm", [muon, normuon, soap])
def test_a_kernel_is_a_matrix_with_one_row_a_channel(algorithm: Algorithm) -> None:
    weight, grads = problem(6, 2, 3, 3)
    flat = path(algorithm, weight.flatten(1), grads.flatten(2), weight_decay=0.1)
    assert_same_path(path(algorithm, weight, grads, weight_decay=0.1), flat.view_as(grads))


@pytest.mark.parametrize("algorithm", [muon, normuon, soap, adam_factored, adafactor])
def test_without_a_gradient_nothing_moves(algorithm: Algorithm) -> None:
    weight = draw(6, 4)
    moved = path(algorithm, weight, torch.zeros(3, 6, 4, dtype=torch.float64))
    assert torch.equal(moved, weight.expand_as(moved))


@pytest.mark.parametrize("hidden", [True, False])
def test_what_is_no_hidden_matrix_gets_the_adamw_of_torch(hidden: bool) -> None:
    for shape in [(6, 4), (6,)]:
        weight, grads = problem(*shape)
        ours = path(with_adamw, weight, grads, matrix=muon, hidden=hidden, weight_decay=0.1, lr=0.03)
        if hidden and len(shape) == 2:
            expected = path(muon, weight, grads, weight_decay=0.1, lr=0.03)
        else:
            options: dict[str, Any] = {"lr": 3e-4, "betas": (0.9, 0.95), "eps": 1e-10, "weight_decay": 0.1}
            expected = torch_path(lambda p: torch.optim.AdamW(p, **options), weight, grads)  # noqa: B023
        assert_same_path(ours, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_updates_of_normuon_have_a_fixed_norm_and_at_first_equal_rows(shape: tuple[int, int]) -> None:
    weight, grads = problem(*shape)
    updates = moves(weight, path(normuon, weight, grads, lr=0.1)) / 0.1
    size = 0.2 * math.sqrt(shape[0] * shape[1])
    torch.testing.assert_close(
        updates.flatten(1).norm(dim=1), torch.full((STEPS,), size).double(), rtol=1e-7, atol=0
    )
    rows = updates[0].norm(dim=1)
    torch.testing.assert_close(rows, rows[:1].expand_as(rows), rtol=1e-7, atol=0)


def test_soap_is_adam_where_gradients_have_no_other_basis_and_forgets_their_size() -> None:
    weight, grads = problem(8, 5)
    assert_same_path(path(soap, weight, 7 * grads), path(soap, weight, grads))
    diagonal = torch.diag_embed(torch.rand(STEPS, 4, dtype=torch.float64) + torch.arange(1, 5))
    weight = draw(4, 4)
    updates = moves(weight, path(soap, weight, diagonal, lr=0.1, least=0.0))
    adam = path(adamw, weight, diagonal, beta1=0.95, beta2=0.95, eps=1e-15, weight_decay=0.0)
    of_adam = moves(weight, adam)
    expected = of_adam / of_adam.norm(dim=(1, 2), keepdim=True)
    assert_same_path(updates / updates.norm(dim=(1, 2), keepdim=True), expected)


def test_normuon_that_keeps_the_norm_is_as_long_as_muon() -> None:
    weight, grads = problem(8, 5)
    normalized = moves(weight, path(normuon, weight, grads, keep_norm=True, nesterov=True))
    plain = moves(weight, path(muon, weight, grads))
    torch.testing.assert_close(
        normalized.flatten(1).norm(dim=1), plain.flatten(1).norm(dim=1), rtol=1e-7, atol=0
    )
    assert not torch.allclose(normalized, plain)


def test_rows_of_normuon_remember_their_size() -> None:
    weight, grads = problem(8, 5)
    momentary, remembering = (moves(weight, path(normuon, weight, grads, beta2=b)) for b in (0.0, 0.95))
    spread = [updates[-1].norm(dim=1).std() for updates in (momentary, remembering)]
    assert spread[0] < 1e-8 < 1e-3 < spread[1]


@pytest.mark.parametrize("shape", [*SHAPES, (7,)])
@pytest.mark.parametrize(("size", "weight_decay"), [(0.0, 0.0), (1.0, 0.0), (1.0, 0.1)])
def test_adafactor_is_that_of_torch(shape: tuple[int, ...], size: float, weight_decay: float) -> None:
    weight, grads = problem(*shape)
    weight = size * weight
    expected = torch_path(
        lambda p: torch.optim.Adafactor(p, lr=0.05, eps=(1e-30, 1e-3), weight_decay=weight_decay),
        weight,
        grads,
    )
    assert_same_path(path(adafactor, weight, grads, lr=0.05, weight_decay=weight_decay), expected)


def test_adafactor_moves_by_the_size_of_its_weights_and_never_faster_than_d() -> None:
    weight, grads = problem(6, 4)
    weights = path(adafactor, weight, grads, d=0.5)
    before = torch.cat([weight[None], weights[:-1]])
    shares = torch.tensor([rms(m) / rms(w) for m, w in zip(moves(weight, weights), before)])
    assert (shares <= 0.5e-2 + 1e-12).all()
    assert float(shares[0]) == pytest.approx(0.5e-2)


def rank_one_gradients() -> tuple[Tensor, Tensor]:
    weight, signs = draw(6, 4), draw(STEPS, 6, 4, seed=1).sign()
    sizes = draw(6, 1, seed=2).abs() * draw(1, 4, seed=3).abs()
    return weight, signs * sizes * draw(STEPS, 1, 1, seed=4).abs()


def test_factors_of_a_second_moment_are_adam_where_squares_have_rank_one() -> None:
    weight, grads = rank_one_gradients()
    common = {"lr": 0.01, "beta1": 0.9, "beta2": 0.99}
    expected = path(adamw, weight, grads, weight_decay=0.0, **common)
    assert_same_path(path(adam_factored, weight, grads, **common), expected)


def test_factors_keep_the_means_of_rows_and_columns_of_the_second_moment() -> None:
    weight, grads = problem(6, 4)
    updates = moves(weight, path(adam_factored, weight, grads[:1], lr=1.0, eps=1e-15))[0]
    second, squares = (grads[0] / updates) ** 2, grads[0] ** 2
    assert_same_path(second.mean(0), squares.mean(0))
    assert_same_path(second.mean(1), squares.mean(1))
