"""The compiled kernels give what torch gives, whatever the shape, and nothing breaks without a compiler."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from evoopt.training.native import build, convolution, pooling
from evoopt.training.population import ModelPopulation
from evoopt.training.stacked import stacked_gradients

pytestmark = pytest.mark.skipif(build.library("convolution") is None, reason="no C++ compiler here")

small = st.integers(1, 4)


def stacked(images: Tensor) -> Tensor:
    """``[P, b, C, H, W]`` as ``[P, C, H, W, b]``."""
    return images.permute(0, 2, 3, 4, 1).contiguous()


@settings(max_examples=60, deadline=None)
@given(
    members=small, shared=st.booleans(), channels=st.integers(1, 9), filters=st.integers(1, 17),
    kernel=st.tuples(small, small), padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    extra=st.tuples(st.integers(0, 5), st.integers(0, 5)), examples=st.sampled_from([1, 7, 16, 37, 50]),
    seed=st.integers(0, 2**32),
)  # fmt: skip
def test_convolutions_and_their_gradients_are_those_of_torch(
    members: int, shared: bool, channels: int, filters: int, kernel: tuple[int, int],
    padding: tuple[int, int], extra: tuple[int, int], examples: int, seed: int,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    size = (kernel[0] + extra[0], kernel[1] + extra[1])
    images = torch.randn(1 if shared else members, examples, channels, *size, dtype=torch.float64)
    kernels = torch.randn(members, filters, channels, *kernel, dtype=torch.float64)
    bias = torch.randn(members, filters, dtype=torch.float64)
    a = stacked(images)
    out = convolution.convolve(a, kernels, bias, padding)
    grad = torch.randn_like(out)
    dx = convolution.input_gradient(grad, kernels, padding)
    dw = convolution.kernel_gradient(a, grad, kernels, padding)
    for k in range(members):
        x = images[0 if shared else k].clone().requires_grad_()
        w = kernels[k].clone().requires_grad_()
        expected = F.conv2d(x, w, bias[k], padding=padding)
        wanted = torch.autograd.grad(expected, (x, w), grad[k].permute(3, 0, 1, 2))
        close = {"rtol": 1e-11, "atol": 1e-11}
        torch.testing.assert_close(out[k].permute(3, 0, 1, 2), expected.detach(), **close)
        torch.testing.assert_close(dx[k].permute(3, 0, 1, 2), wanted[0], **close)
        torch.testing.assert_close(dw[k], wanted[1], **close)


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)), stride=st.tuples(st.integers(1, 3), small),
    extra=st.tuples(st.integers(0, 5), st.integers(0, 5)), pad=st.booleans(),
    examples=st.sampled_from([1, 16, 35]), ties=st.booleans(), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_pooling_and_its_gradient_are_those_of_torch_ties_and_nan_included(
    kernel: tuple[int, int], stride: tuple[int, int], extra: tuple[int, int], pad: bool, examples: int,
    ties: bool, seed: int,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    padding = (kernel[0] // 2, kernel[1] // 2) if pad else (0, 0)
    layer = nn.MaxPool2d(kernel, stride, padding)
    images = torch.randn(2, examples, 3, kernel[0] + extra[0], kernel[1] + extra[1])
    if ties:
        images = images.round()
        images[0, 0, 0, 0, 0] = torch.nan
    x = images.flatten(0, 1).requires_grad_()
    expected = layer(x)
    out, undo = pooling.max_pool(layer, stacked(images))
    grad = torch.randn_like(expected)
    (wanted,) = torch.autograd.grad(expected, x, grad)
    found = undo(stacked(grad.unflatten(0, (2, examples))))
    torch.testing.assert_close(
        out, stacked(expected.detach().unflatten(0, (2, examples))), rtol=0, atol=0, equal_nan=True
    )
    torch.testing.assert_close(found, stacked(wanted.unflatten(0, (2, examples))), rtol=1e-6, atol=1e-6)


def model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 6, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(24, 3),
    )  # fmt: skip


def gradients(population: ModelPopulation, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    def loss(out: Tensor) -> tuple[Tensor, Tensor]:
        return (out**2).sum(dim=(1, 2)), 2 * out

    layers = population.architecture.layers
    return stacked_gradients(layers, {**population.parameters, **population.state}, x, loss)


def test_without_the_kernels_a_population_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    population = ModelPopulation.from_models([model().double() for _ in range(3)])
    x = torch.randn(20, 1, 8, 8, dtype=torch.float64)
    losses, found = gradients(population, x)
    monkeypatch.setattr(convolution, "suits", lambda layer, a: False)
    monkeypatch.setattr(pooling, "suits", lambda layer, a: False)
    expected, wanted = gradients(population, x)
    torch.testing.assert_close(losses, expected, rtol=1e-11, atol=0)
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-11, atol=1e-11, msg=name)


def test_threads_and_company_change_no_bit() -> None:
    torch.manual_seed(0)
    population = ModelPopulation.from_models([model() for _ in range(5)])
    x, before = torch.randn(33, 1, 8, 8), torch.get_num_threads()
    found = []
    try:
        for threads, members in ((1, 5), (2, 5), (3, 5), (1, 2)):
            torch.set_num_threads(threads)
            found.append(gradients(population.part(0, members), x)[1]["0.weight"])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[0][:2], found[3])


def test_a_machine_without_compiler_gets_one_notice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    library: Any = build.library.__wrapped__
    with pytest.warns(UserWarning, match="run uncompiled and slower: FileNotFoundError: no C\\+\\+ compiler"):
        assert library("convolution") is None


def test_the_compiled_file_is_kept_and_found_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library: Any = build.library.__wrapped__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert library("pooling") is not None
        (path,) = tmp_path.rglob("*.so")
        written = path.stat().st_mtime_ns
        assert library("pooling") is not None
    assert path.stat().st_mtime_ns == written
    assert [p.name for p in path.parent.iterdir()] == [path.name], "no scratch is left behind"
