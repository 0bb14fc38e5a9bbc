"""The compiled kernels give what torch gives, whatever the shape, and nothing breaks without a compiler."""

from __future__ import annotations

import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from evoopt.errors import EvooptWarning
from evoopt.execution.process_setup import torch_threads
from evoopt.training.forward import losses_and_their_gradient
from evoopt.training.native import build, convolution, cross_entropy, linear, pooling
from evoopt.training.native.threads import over_members
from evoopt.training.population import ModelPopulation
from evoopt.training.stacked import stacked_gradients

pytestmark = pytest.mark.skipif(build.library("convolution") is None, reason="no C++ compiler here")

small = st.integers(1, 4)


def stacked(images: Tensor) -> Tensor:
    """``[P, b, C, H, W]`` as ``[P, C, H, W, b]``."""
    return images.permute(0, 2, 3, 4, 1).contiguous()


@settings(max_examples=60)
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
    out, _ = convolution.convolve(a, kernels, bias, padding)
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


@settings(max_examples=80)
@given(
    members=small, shared=st.booleans(), channels=st.integers(1, 3), filters=st.integers(1, 17),
    window=st.tuples(small, small), extra=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    examples=st.sampled_from([0, 1, 7, 16, 37, 50]), relu=st.booleans(), biased=st.booleans(),
    odd=st.booleans(), dtype=st.sampled_from([torch.float32, torch.float64]), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_pooling_and_relu_behind_a_convolution_are_those_of_torch_ties_and_nan_included(
    members: int, shared: bool, channels: int, filters: int, window: tuple[int, int],
    extra: tuple[int, int], examples: int, relu: bool, biased: bool, odd: bool, dtype: torch.dtype, seed: int,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    size = (window[0] + extra[0], window[1] + extra[1])
    # Small whole numbers, so that sums are exact and many of a window are equal.
    images = torch.randint(-1, 2, (1 if shared else members, examples, channels, *size)).to(dtype)
    kernels = torch.randint(-1, 2, (members, filters, channels, 3, 3)).to(dtype)
    bias = torch.randint(-1, 2, (members, filters)).to(dtype) if biased else None
    if odd and examples:
        images[0, 0, 0, 0, 0] = torch.nan
    out, winners = convolution.convolve(stacked(images), kernels, bias, (1, 1), window, relu)
    assert (winners is None) == (window == (1, 1))
    grad = torch.randint(-3, 4, out.shape).to(dtype)
    d_bias = torch.empty(members, filters, dtype=dtype) if biased else None
    actual = convolution.output_gradient(
        grad, out if relu else None, winners, size, window, d_bias
    )  # fmt: skip
    exact = {"rtol": 0, "atol": 0, "equal_nan": True}
    for k in range(members):
        full = F.conv2d(images[0 if shared else k], kernels[k], None if bias is None else bias[k], padding=1)
        full.requires_grad_()
        expected = F.max_pool2d(full, window) if examples else full[:, :, :: window[0], :: window[1]]
        expected = expected[:, :, : out.shape[2], : out.shape[3]]
        expected = expected.relu() if relu else expected
        (wanted,) = torch.autograd.grad(expected, full, grad[k].permute(3, 0, 1, 2))
        torch.testing.assert_close(out[k].permute(3, 0, 1, 2), expected.detach(), **exact)
        torch.testing.assert_close(actual[k].permute(3, 0, 1, 2), wanted, **exact)
        if d_bias is not None:
            torch.testing.assert_close(d_bias[k], wanted.sum(dim=(0, 2, 3)), **exact)


@settings(max_examples=60)
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
    actual = undo(stacked(grad.unflatten(0, (2, examples))))
    torch.testing.assert_close(
        out, stacked(expected.detach().unflatten(0, (2, examples))), rtol=0, atol=0, equal_nan=True
    )
    torch.testing.assert_close(actual, stacked(wanted.unflatten(0, (2, examples))), rtol=1e-6, atol=1e-6)


@settings(max_examples=80)
@given(
    members=small, shared=st.booleans(), inputs=st.integers(1, 70), outputs=st.integers(1, 70),
    examples=st.sampled_from([1, 3, 8, 17, 32, 50]), relu=st.booleans(), biased=st.booleans(),
    wanted=st.booleans(), dtype=st.sampled_from([torch.float32, torch.float64]), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_linear_layers_and_their_gradients_are_those_of_torch(
    members: int, shared: bool, inputs: int, outputs: int, examples: int, relu: bool, biased: bool,
    wanted: bool, dtype: torch.dtype, seed: int,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    size = outputs * inputs
    # Weights and gradients lie in the middle of the rows of a matrix; nothing else may be touched.
    rows, actual = torch.randn(2, members, size + outputs + 6, dtype=dtype)
    weight, bias = rows[:, 3 : 3 + size].view(members, outputs, inputs), rows[:, 3 + size : -3]
    around = actual[:, [*range(3), *range(-3, 0)]].clone()
    a = torch.randn(1 if shared else members, inputs, examples, dtype=dtype)
    out = linear.forward(a, weight, bias if biased else None, relu)
    grad = torch.randn_like(out)
    d_weight, d_bias = actual[:, 3 : 3 + size].view(members, outputs, inputs), actual[:, 3 + size : -3]
    dx = linear.backward(a, weight, grad, out if relu else None, d_weight, d_bias if biased else None, wanted)
    close = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4}
    assert (dx is not None) == wanted
    for k in range(members):
        x, w, b = (t.clone().requires_grad_() for t in (a[0 if shared else k].T, weight[k], bias[k]))
        expected = F.linear(x, w, b if biased else None)
        if relu:
            expected = expected.relu()
        wish = torch.autograd.grad(expected, (x, w, b), grad[k].T, allow_unused=True)
        torch.testing.assert_close(out[k].T, expected.detach(), **close)
        torch.testing.assert_close(d_weight[k], wish[1], **close)
        if wanted:
            torch.testing.assert_close(dx[k].T, wish[0], **close)
        if biased:
            torch.testing.assert_close(d_bias[k], wish[2], **close)
    assert torch.equal(actual[:, [*range(3), *range(-3, 0)]], around)


def test_not_a_number_goes_through_linear_layers_and_relu() -> None:
    a, weight = torch.ones(1, 20, 16), torch.ones(2, 9, 20)
    weight[1, 4, 7] = torch.nan
    out = linear.forward(a, weight, None, True)
    d_weight = torch.empty_like(weight)
    linear.backward(a, weight, torch.ones_like(out), out, d_weight, None, False)
    assert out.isnan().nonzero()[:, :2].unique(dim=0).tolist() == [[1, 4]]
    assert d_weight[0].eq(16).all()


@settings(max_examples=40)
@given(
    members=small, shared=st.booleans(), classes=st.integers(1, 12), examples=st.sampled_from([1, 7, 32]),
    scale=st.sampled_from([1.0, 1e3]), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_cross_entropy_and_its_gradient_are_those_of_torch(
    members: int, shared: bool, classes: int, examples: int, scale: float, seed: int
) -> None:
    torch.manual_seed(seed)
    outputs = torch.randn(members, classes, examples, dtype=torch.float64).mul_(scale).requires_grad_()
    y = torch.randint(0, classes, (1 if shared else members, examples))
    expected = F.cross_entropy(outputs, y.expand(members, -1), reduction="none").mean(dim=1)
    (wanted,) = torch.autograd.grad(expected.sum(), outputs)
    actual = cross_entropy.losses_and_gradient(outputs.detach(), y)
    assert actual is not None
    torch.testing.assert_close(actual[0], expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(actual[1], wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shared", [True, False])
def test_without_the_kernel_losses_are_the_same(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    outputs, y = torch.randn(3, 7, 5, dtype=torch.float64), torch.randint(0, 5, (7,) if shared else (3, 7))
    losses, gradient = losses_and_their_gradient(F.cross_entropy, outputs, y, shared)
    monkeypatch.setattr(cross_entropy, "suits", lambda outputs, y: False)
    expected, wanted = losses_and_their_gradient(F.cross_entropy, outputs, y, shared)
    torch.testing.assert_close(losses, expected, rtol=1e-13, atol=0)
    torch.testing.assert_close(gradient, wanted, rtol=1e-13, atol=1e-15)


def test_losses_of_outputs_that_are_no_numbers_are_none() -> None:
    outputs = torch.zeros(3, 4, 2)
    outputs[1, 2, 1], outputs[2, 0, 0] = torch.nan, torch.inf
    actual = cross_entropy.losses_and_gradient(outputs, torch.tensor([[0, 1]]))
    assert actual is not None
    assert actual[0].isnan().tolist() == [False, True, True]


def test_classes_that_the_outputs_do_not_have_are_an_error_as_in_torch() -> None:
    for wrong in (-1, 4):
        assert cross_entropy.losses_and_gradient(torch.zeros(2, 4, 2), torch.tensor([[0, wrong]])) is None
        with pytest.raises((RuntimeError, IndexError)):
            losses_and_their_gradient(F.cross_entropy, torch.zeros(2, 2, 4), torch.tensor([0, wrong]))


def model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 6, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(24, 9), nn.ReLU(), nn.Linear(9, 3, bias=False),
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
    losses, actual = gradients(population, x)
    for kernels in (convolution, linear, pooling):
        monkeypatch.setattr(kernels, "suits", lambda layer, a: False)
    expected, wanted = gradients(population, x)
    torch.testing.assert_close(losses, expected, rtol=1e-11, atol=0)
    for name, tensor in wanted.items():
        torch.testing.assert_close(actual[name], tensor, rtol=1e-11, atol=1e-11, msg=name)


def test_threads_and_company_change_no_bit() -> None:
    torch.manual_seed(0)
    population = ModelPopulation.from_models([model() for _ in range(5)])
    x, before = torch.randn(33, 1, 8, 8), torch.get_num_threads()
    actual = []
    try:
        for threads, members in ((1, 5), (2, 5), (3, 5), (1, 2)):
            torch.set_num_threads(threads)
            actual.append(gradients(population.part(0, members), x)[1])
    finally:
        torch.set_num_threads(before)
    for name, expected in actual[0].items():
        assert torch.equal(actual[1][name], expected)
        assert torch.equal(actual[2][name], expected)
        assert torch.equal(actual[3][name], expected[:2])


def test_a_machine_without_compiler_gets_one_notice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    library: Any = build.library.__wrapped__
    with pytest.warns(EvooptWarning, match="uncompiled and slower: there is no C\\+\\+ compiler, install g"):
        assert library("convolution") is None


def test_the_compiler_that_cxx_names_may_have_arguments_and_must_be_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library: Any = build.library.__wrapped__
    monkeypatch.setenv("CXX", "env LC_ALL=C c++")
    assert library("pooling") is not None
    monkeypatch.setenv("CXX", "'g++")
    with pytest.warns(EvooptWarning, match="CXX=.* cannot be read: No closing quotation"):
        assert library("pooling") is None
    monkeypatch.setenv("CXX", "no-compiler -v")
    with pytest.warns(EvooptWarning, match="there is no 'no-compiler -v', which CXX names"):
        assert library("pooling") is None


@pytest.mark.parametrize("left", [0, 0.5, 0.9999])
def test_a_damaged_compiled_file_is_compiled_anew(
    left: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library: Any = build.library.__wrapped__
    assert library("pooling") is not None
    (path,) = tmp_path.rglob("*.so")
    whole = path.read_bytes()
    path.unlink()  # what is loaded must not be cut off below itself
    path.write_bytes(whole[: int(left * len(whole))])
    assert library("pooling") is not None
    assert path.stat().st_size == len(whole)


def test_for_a_user_without_home_kernels_are_compiled_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # a number that no name belongs to
    monkeypatch.setattr(build.tempfile, "tempdir", str(tmp_path))
    library: Any = build.library.__wrapped__
    assert library("pooling") is not None
    assert not list(tmp_path.iterdir())


def test_many_who_need_a_kernel_at_once_compile_it_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled, compile_it = [], build._compile

    def count(name: str, *rest: Any) -> None:
        compiled.append(name)
        compile_it(name, *rest)

    monkeypatch.setattr(build, "_compile", count)
    library: Any = build.library.__wrapped__
    with ThreadPoolExecutor(3) as pool:
        assert None not in list(pool.map(library, ["pooling"] * 3))
    assert compiled == ["pooling"]


def test_processors_of_both_kinds_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    known = []
    for text in ("flags : avx", "flags : avx avx2", "Features : fp", "Features : fp sve", "CPU part : 0xd0c"):
        monkeypatch.setattr(build.Path, "read_text", lambda self, text=text: f"processor : 0\n{text}\n")
        known.append(build._processor())
    assert len(set(known)) == len(known)


def test_nobody_leaves_while_a_thread_still_works() -> None:
    working = threading.Event()

    def work(start: int, stop: int) -> bool:
        if start == 0:
            working.wait(10)
            raise KeyboardInterrupt
        working.set()
        time.sleep(0.2)
        working.clear()
        return True

    with torch_threads(2), pytest.raises(KeyboardInterrupt):
        over_members(2, work)
    assert not working.is_set()


def test_the_compiled_file_is_kept_and_found_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def kept() -> list[Path]:
        return list(tmp_path.rglob("*.so"))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library: Any = build.library.__wrapped__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert library("pooling") is not None
        (path,) = kept()
        written = path.stat().st_mtime_ns
        assert library("pooling") is not None
    assert path.stat().st_mtime_ns == written
    left = {p.suffix for p in path.parent.iterdir()}
    assert left == {".so", ".lock"}, "no scratch is left behind"
    assert library("pooling", "// other terms\n") is not None
    assert len(kept()) == 2, "other source is another file"
    monkeypatch.setenv("EVOOPT_KERNEL_FLAGS", "-O1 -DX='1 2'")
    assert library("pooling") is not None
    assert len(kept()) == 3, "other flags are another file"
