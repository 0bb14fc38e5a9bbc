"""Convolutions as CUDA runs them, on the CPU: products by torch, kernels in CUDA C++ thread by thread."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.training import stacked_convolutions
from evoopt.training.dropout import give, with_given_dropout
from evoopt.training.forward import losses_and_gradients, outputs
from evoopt.training.native import convolution, cuda, cuda_between, cuda_convolution, pooling
from evoopt.training.population import ModelPopulation

from .cuda_on_cpu import compile_for_a_gpu, launch

WINDOWS = [(1, 1), (2, 2), (3, 2)]


@pytest.fixture
def as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Layers run as on CUDA; what was used is told."""
    used: list[str] = []

    def run(file: str, name: str, like: Tensor, how: cuda.Launch, before: str) -> None:
        used.append(name)
        launch(cuda.source(file, like.dtype, before), name, how)

    for way in ("_columns", "_shared_columns", "_grouped"):
        original = getattr(stacked_convolutions, way)

        def noted(*args: Any, way: str = way, original: Callable[..., Any] = original) -> Any:
            used.append(way)
            return original(*args)

        monkeypatch.setattr(stacked_convolutions, way, noted)
    for module in (convolution, pooling):
        monkeypatch.setattr(module, "suits", lambda *_: False)
    monkeypatch.setattr(stacked_convolutions, "_on_cuda", lambda a: True)
    monkeypatch.setattr(cuda, "compiles", lambda *_: True)
    monkeypatch.setattr(cuda, "run", run)
    return used


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 9, 2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(9 * 16, 4),
    )  # fmt: skip


def many_channels() -> nn.Module:
    return nn.Sequential(
        nn.ZeroPad2d((0, 1, 1, 0)),
        nn.Conv2d(2, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=(1, 0)), nn.ReLU(), nn.MaxPool2d((3, 2)), nn.Dropout(0.25),
        nn.Conv2d(32, 34, 2, stride=(1, 2)), nn.Tanh(), nn.AvgPool2d((2, 1), 1), nn.Dropout2d(0.2),
        nn.Flatten(), nn.Linear(34, 4),
    )  # fmt: skip


def between_other_layers() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 33, 3, bias=False), nn.MaxPool2d(2), nn.Conv2d(33, 7, 2), nn.ReLU(),
        nn.Conv2d(7, 40, 1), nn.ReLU(), nn.Conv2d(40, 40, 2), nn.MaxPool2d(2, padding=1), nn.Flatten(),
        nn.Linear(40, 4),
    )  # fmt: skip


WAYS = {
    small: ({"_columns", "forward", "backward"}, {"_columns", "forward", "backward"}),
    many_channels: (
        {"_shared_columns", "_grouped", "forward", "backward"},
        {"_columns", "_grouped", "forward", "backward"},
    ),
    between_other_layers: (
        {"_shared_columns", "_columns", "_grouped", "forward", "backward"},
        {"_columns", "_grouped", "forward", "backward"},
    ),
}


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("make", list(WAYS))
def test_losses_and_gradients_are_those_of_the_models_alone(
    make: Callable[[], nn.Module], shared: bool, as_on_cuda: list[str]
) -> None:
    torch.manual_seed(3)
    models = [make().double() for _ in range(3)]
    channels = next(m for m in models[0].modules() if isinstance(m, nn.Conv2d)).in_channels
    x = torch.randn(5, channels, 8, 8, dtype=torch.float64)
    y = torch.randint(0, 4, (5,))
    uniform = {"7.uniform": torch.rand(5, 32, 3, 3), "11.uniform": torch.rand(5, 34, 1, 1)}
    if make is not many_channels:
        uniform = {}
    population = ModelPopulation.from_models(models, "stacked")
    for rate in population.rates.values():
        rate += torch.tensor([0.0, 0.1, 0.2])
    given = [t if shared else t.expand(3, *t.shape).contiguous() for t in (x, y)]
    drawn = {n: t if shared else t.expand(3, *t.shape).contiguous() for n, t in uniform.items()}
    gradients = torch.full_like(population.weights, 7.0)
    before = [with_given_dropout(population.member(k)) for k in range(3)]
    losses = losses_and_gradients(population, F.cross_entropy, *given, drawn, gradients, shared)
    assert set(as_on_cuda) == WAYS[make][0 if shared else 1]
    for k, model in enumerate(before):
        give(model.train(), uniform)
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        torch.testing.assert_close(losses[k], loss.detach(), rtol=1e-10, atol=1e-12)
        for name, parameter in model.named_parameters():
            found = population.views(gradients)[name][k]
            torch.testing.assert_close(found, parameter.grad, rtol=1e-8, atol=1e-11)
        for name, buffer in model.named_buffers():
            if name in population.state:
                torch.testing.assert_close(population.state[name][k], buffer, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("make", list(WAYS))
def test_scores_are_those_of_the_models_alone(make: Callable[[], nn.Module], as_on_cuda: list[str]) -> None:
    torch.manual_seed(4)
    models = [make().double() for _ in range(2)]
    channels = next(m for m in models[0].modules() if isinstance(m, nn.Conv2d)).in_channels
    x = torch.randn(3, channels, 8, 8, dtype=torch.float64)
    found = outputs(ModelPopulation.from_models(models, "stacked"), x)
    assert "convolve" in as_on_cuda
    for one, model in zip(found, models, strict=True):
        torch.testing.assert_close(one, model.eval()(x).detach(), rtol=1e-10, atol=1e-12)


def test_mixed_precision_computes_products_in_bfloat16(as_on_cuda: list[str]) -> None:
    torch.manual_seed(5)
    models = [many_channels() for _ in range(2)]
    x, y = torch.randn(5, 2, 8, 8), torch.randint(0, 4, (5,))
    found = []
    for precise in (True, False):
        population = ModelPopulation.from_models(models, "stacked")
        for rate in population.rates.values():
            rate.zero_()
        gradients = torch.zeros_like(population.weights)
        drawn = {"7.uniform": torch.rand(5, 32, 3, 3), "11.uniform": torch.rand(5, 34, 1, 1)}
        with nullcontext() if precise else torch.autocast("cpu", torch.bfloat16):
            losses = losses_and_gradients(population, F.cross_entropy, x, y, drawn, gradients)
        found.append((losses, gradients))
    (exact, slopes), (losses, gradients) = found
    assert not torch.equal(exact, losses.float()), "nothing was computed in bfloat16"
    torch.testing.assert_close(losses.float(), exact, rtol=0.03, atol=0.03)
    assert float((gradients - slopes).norm() / slopes.norm()) < 0.05


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("dtype", list(cuda.TYPES_THERE), ids=str)
def test_what_lies_between_convolutions_is_that_of_torch(
    as_on_cuda: list[str], dtype: torch.dtype, window: tuple[int, int], inside: bool
) -> None:
    generator = torch.Generator().manual_seed(6)
    z = torch.randn(6, 7, 5, 33, generator=generator).to(dtype)
    z[0, 0, 0, :3], z[0, 0, 1, 0] = torch.tensor([1.0, torch.nan, 2.0]).to(dtype), 1.0
    bias = torch.randn(33 if inside else 6, 2, generator=generator)[:, 0]  # of one filter, in rows of weights
    bias = bias if dtype == torch.bfloat16 else bias.to(dtype)
    out, winners = cuda_between.forward(z, bias, window, True, inside)
    exact = torch.float64
    leaf = z.to(exact).permute(0, 3, 1, 2).requires_grad_()
    pooled = F.max_pool2d(leaf, window) + (bias.view(1, -1, 1, 1) if inside else bias.view(-1, 1, 1, 1)).to(
        exact
    )
    # Rounding to bfloat16 is torch's, to the bit.
    assert torch.equal(out.permute(0, 3, 1, 2).nan_to_num(9), F.relu(pooled).detach().to(dtype).nan_to_num(9))
    if winners is None:
        return
    g = torch.randn(out.shape, generator=generator).to(dtype)
    F.max_pool2d(leaf, window).backward(g.to(exact).permute(0, 3, 1, 2))
    found = cuda_between.backward(g, winners, (7, 5), window)
    assert torch.equal(found.permute(0, 3, 1, 2).to(exact), leaf.grad)


def test_kernels_refuse_what_does_not_fit() -> None:
    z, bias = torch.zeros(4, 6, 6, 8), torch.zeros(3)
    with pytest.raises(EvooptError, match="bias"):
        cuda_between.launch_forward(z, bias, (2, 2), True, False)
    with pytest.raises(EvooptError, match="contiguous"):
        cuda_between.launch_forward(z.transpose(0, 1), None, (2, 2), True, False)
    with pytest.raises(EvooptError, match="do not come"):
        cuda_between.launch_backward(z, z.to(torch.uint8), (6, 6), (2, 2))
    with pytest.raises(EvooptError, match="uint8"):
        cuda_between.launch_backward(z, z, (12, 12), (2, 2))
    a, kernels = torch.zeros(2, 3, 6, 6, 8), torch.zeros(2, 4, 3, 3, 3)
    wrong = {
        "do not fit": (a[:, :2], kernels, None, (0, 0), (1, 1)),
        "fit": (a.double(), kernels, None, (0, 0), (1, 1)),
        "must be": (a, kernels, torch.zeros(4, 2), (0, 0), (1, 1)),
        "a convolution": (a[:, :, :2], kernels, None, (0, 0), (1, 1)),
        "a pooling window": (a, kernels, None, (0, 0), (5, 5)),
    }
    for message, given in wrong.items():
        with pytest.raises(EvooptError, match=message):
            cuda_convolution.launch(*given, relu=False)


def test_kernels_compile_for_a_gpu_where_torch_brings_the_compiler() -> None:
    for dtype in cuda.TYPES_THERE:
        for name in ("forward", "backward"):
            compile_for_a_gpu(cuda.source("between", dtype, cuda_between.before((2, 2))), name)
    for kernel_size, window in (((3, 3), (2, 2)), ((5, 5), (1, 1))):
        before = cuda_convolution.before(kernel_size, window)
        compile_for_a_gpu(cuda.source("convolution", torch.float32, before), "convolve")
