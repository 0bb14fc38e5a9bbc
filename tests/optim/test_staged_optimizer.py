"""The optimizer class with stages: state, groups, averages, dtypes and what it refuses."""

from __future__ import annotations

import copy
import io
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evoopt.optim import STAGED_PRESETS, EvolvedOptimizer, UpdateRule, matrix_groups, preset
from evoopt.optim.groups import parameter_roles
from tests.optim.test_published import draw, problem, torch_path

EVERYTHING = replace(
    preset("normuon"), terms=(("adam", 1.0), ("slow_momentum", 0.3)), use_v=True, slow_beta=0.99,
    gradient_difference=0.1, clip_norm=1.0, second_moment="factored", mask="cautious", cautious_decay=True,
    readout="mean", mean_fraction=0.5, warmup_fraction=0.2, decay_shape="sqrt", decay_start=0.5,
)  # fmt: skip
RULES = {**STAGED_PRESETS, "everything": EVERYTHING}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
STEPS = 12


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 6)
        self.convolution = nn.Conv1d(6, 4, 3)
        self.norm = nn.BatchNorm1d(4)
        self.hidden = nn.Linear(4, 3)
        self.output = nn.Linear(3, 2)


def train(
    rule: UpdateRule, params: list[nn.Parameter], steps: range, state: dict[str, Any] | None = None
) -> EvolvedOptimizer:
    optimizer = EvolvedOptimizer(params, rule, total_steps=STEPS, lr=0.01)
    if state:
        optimizer.load_state_dict(state)
    for step in steps:
        for k, p in enumerate(params):
            p.grad = draw(*p.shape, seed=10 * step + k).to(p)
        optimizer.step()
    return optimizer


def parameters(dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    return [nn.Parameter(draw(*shape).to(dtype)) for shape in [(4, 3), (5, 2, 2, 2), (6,), (1,)]]


@every_rule
def test_training_continues_exactly_from_a_saved_state(rule: UpdateRule) -> None:
    whole, params = parameters(), parameters()
    last = train(rule, whole, range(STEPS))
    file = io.BytesIO()
    torch.save(train(rule, params, range(5)).state_dict(), file)
    file.seek(0)
    after = train(rule, params, range(5, STEPS), torch.load(file, weights_only=True))
    with last.averaged(), after.averaged():
        assert all(torch.equal(p, q) for p, q in zip(whole, params))
    assert all(torch.equal(p, q) for p, q in zip(whole, params))


@every_rule
def test_a_deep_copy_goes_on_as_the_original(rule: UpdateRule) -> None:
    params = parameters()
    optimizer = train(rule, params, range(5))
    twins, twin = copy.deepcopy((params, optimizer))
    for of, owned in ((params, optimizer), (twins, twin)):
        for p in of:
            p.grad = torch.ones_like(p)
        owned.step()
    assert all(torch.equal(p, q) for p, q in zip(params, twins))


@every_rule
def test_the_memory_format_of_kernels_changes_nothing(rule: UpdateRule) -> None:
    plain, last = parameters()[1:2], parameters()[1:2]
    last[0].data = last[0].data.contiguous(memory_format=torch.channels_last)
    train(rule, plain, range(STEPS))
    train(rule, last, range(STEPS))
    torch.testing.assert_close(plain[0], last[0], rtol=1e-12, atol=1e-13)


@every_rule
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_low_precision_follows_double(rule: UpdateRule, dtype: torch.dtype) -> None:
    low, double = parameters(dtype), parameters()
    train(rule, low, range(3))
    train(rule, double, range(3))
    for p, q in zip(low, double):
        assert p.dtype == dtype
        torch.testing.assert_close(p.double(), q, rtol=0, atol=0.05 if dtype == torch.bfloat16 else 1e-4)


def test_averages_of_bfloat16_hold_small_changes() -> None:
    p = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    optimizer = EvolvedOptimizer([p], UpdateRule((), readout="ema", ema_decay=0.999))
    for step in range(1001):
        p.grad = torch.zeros_like(p)
        p.data.fill_(float(step >= 1))
        optimizer.step()
    first = 0.001 * 0.999**1000 / (1 - 0.999**1001)
    assert float(optimizer.state[p]["average"]) == pytest.approx(1 - first, abs=1e-6)


@pytest.mark.parametrize("name", ["soap", "adamw_ema", "polaris"])
def test_a_loaded_state_of_bfloat16_is_the_saved_one(name: str) -> None:
    p = nn.Parameter(draw(4, 3).bfloat16())
    optimizer = train(preset(name), [p], range(3))
    again = EvolvedOptimizer([nn.Parameter(p.detach().clone())], preset(name), total_steps=STEPS)
    again.load_state_dict(optimizer.state_dict())
    for key, value in optimizer.state_dict()["state"][0].items():
        found = again.state_dict()["state"][0][key]
        assert found.dtype == value.dtype, key
        assert torch.equal(found, value), key


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1)])
@every_rule
def test_empty_and_tiny_matrices_are_no_trouble(rule: UpdateRule, shape: tuple[int, int]) -> None:
    p = nn.Parameter(torch.ones(shape))
    train(rule, [p], range(3))
    assert bool(torch.isfinite(p).all())


def test_complex_vectors_move_as_pairs() -> None:
    vector = nn.Parameter(torch.ones(3, dtype=torch.complex128))
    for rule in (preset("cautious_adamw"), preset("lamb"), preset("mars_adamw")):
        pairs = nn.Parameter(torch.ones(3, 2).double())
        vector.data.fill_(1 + 1j)
        for step in range(3):
            grad = draw(3, 2, seed=step)
            vector.grad, pairs.grad = torch.view_as_complex(grad.clone()), grad
            for made in ([vector], [pairs]):
                train_one(made, rule, step)
        torch.testing.assert_close(torch.view_as_real(vector.detach()), pairs.detach())


def train_one(params: list[nn.Parameter], rule: UpdateRule, step: int) -> None:
    optimizer = EvolvedOptimizer(params, rule, lr=0.1 / (step + 1))
    optimizer.step()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (replace(preset("adam"), decay_shape="linear"), "schedule in fractions.*: pass total_steps"),
        (replace(preset("adam"), readout="mean"), "mean of the last weights: pass total_steps"),
    ],
)  # fmt: skip
def test_what_depends_on_the_length_asks_for_it(rule: UpdateRule, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvolvedOptimizer([nn.Parameter(torch.ones(1))], rule)


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_a_schedule_that_is_over_says_so_where_nothing_is_left_of_the_rate(floor: float) -> None:
    p = nn.Parameter(torch.ones(1))
    rule = replace(preset("adam"), decay_shape="linear", decay_floor=floor)
    optimizer = EvolvedOptimizer([p], rule, total_steps=2)
    p.grad = torch.ones(1)
    optimizer.step()
    optimizer.step()
    with pytest.warns(UserWarning, match="is over") if not floor else nullcontext():
        optimizer.step()


@pytest.mark.parametrize("name", ["normuon", "mars_adamw", "adafactor_moments"])
def test_the_betas_of_a_group_are_those_of_its_stages(name: str) -> None:
    weight, grads = problem(5, 4)
    rule, betas = preset(name), (0.8, 0.7)

    def moved(rule: UpdateRule, **group: Any) -> Tensor:
        return torch_path(lambda p: EvolvedOptimizer([{"params": p, **group}], rule), weight, grads)

    expected = moved(replace(rule, beta1=0.8, beta2=0.7))
    assert torch.equal(moved(rule, betas=betas), expected)
    assert not torch.equal(moved(rule), expected)


def test_a_rule_of_the_last_weights_reads_them() -> None:
    params = parameters()
    optimizer = train(preset("muon"), params, range(3))
    last, copies = [p.detach().clone() for p in params], parameters()
    optimizer.copy_averaged_to(copies)
    with optimizer.averaged():
        assert all(torch.equal(p, q) and torch.equal(p, r) for p, q, r in zip(params, last, copies))


def test_groups_tell_hidden_matrices_from_embeddings_and_the_output_layer() -> None:
    model = Net()
    matrices, others = matrix_groups(model, preset("muon"))
    assert [name for name, _ in matrices["params"]] == ["convolution.weight", "hidden.weight"]
    assert {"output.weight", "embedding.weight"} <= dict(others["params"]).keys()
    with_output = matrix_groups(model, replace(preset("muon"), shape_output=True))
    assert "output.weight" in dict(with_output[0]["params"])
    optimizer = EvolvedOptimizer([matrices, others], preset("muon"))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert "exp_avg_sq" in optimizer.state[model.output.weight]
    assert "exp_avg_sq" not in optimizer.state[model.hidden.weight]


def test_an_output_layer_tied_to_an_embedding_leaves_hidden_matrices_alone() -> None:
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 3), nn.Linear(3, 5, bias=False))
    model[2].weight = model[0].weight
    assert parameter_roles(model) == {"0.weight": "embedding", "1.weight": "matrix", "1.bias": "vector"}


def test_others_have_a_rate_of_their_own() -> None:
    weight, grads = problem(7)

    def moved(rule: UpdateRule) -> Tensor:
        return torch_path(lambda p: EvolvedOptimizer(p, rule), weight, grads)

    adam = replace(preset("adam"), lr=1e-3, beta2=0.95, eps=1e-10, weight_decay=0.1)
    assert torch.equal(moved(replace(preset("muon"), others_lr=0.5)), moved(replace(adam, lr=5e-4)))
    assert torch.equal(moved(replace(adam, shape="rms", others_lr=0.5)), moved(replace(adam, lr=5e-4)))
