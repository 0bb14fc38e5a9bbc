"""Exported classes on a CUDA device: the foreach default, agreement with the CPU, and CUDA graphs."""

from __future__ import annotations

import sys
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch.nn import Parameter

from evoopt.export.naming import function_name
from evoopt.optim import Muon
from tests.export.subjects import CLASSES, STAGED, make, regression, weight_and_bias

pytestmark = pytest.mark.cuda
every_class = pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)


def on_cuda(dtype: torch.dtype = torch.float64) -> list[Parameter]:
    return [Parameter(p.detach().cuda()) for p in weight_and_bias(dtype)]


def fill_gradients(params: list[Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype).to(p.device)


@every_class
def test_foreach_is_the_default(cls: type[Any]) -> None:
    params = on_cuda()
    fill_gradients(params, 0)
    name = f"_multi_tensor_{function_name(cls.__name__)}"
    with patch.object(sys.modules[cls.__module__], name) as called:
        make(cls, params).step()
    assert called.called


@pytest.mark.parametrize("cls", (CLASSES | STAGED).values(), ids=CLASSES | STAGED)
@pytest.mark.parametrize("options", [{"foreach": False}, {"foreach": True}, {"capturable": True}])
def test_steps_equal_those_on_a_cpu(cls: type[Any], options: dict[str, Any]) -> None:
    params, expected = on_cuda(), weight_and_bias(torch.float64)
    optimizer, reference = make(cls, params, **options), make(cls, expected)
    for seed in range(5):
        for of in (params, expected):
            fill_gradients(of, seed)
        optimizer.step()
        reference.step()
    for p, q in zip(params, expected, strict=True):
        torch.testing.assert_close(p.cpu(), q, rtol=1e-5, atol=1e-6)
        assert optimizer.state[p]["step"].is_cuda == options.get("capturable", False)


@every_class
def test_a_fused_state_goes_on_from_where_it_was(cls: type[Any]) -> None:
    params = on_cuda()
    optimizer = make(cls, params, fused=True)
    for again in (False, True):
        fill_gradients(params, 0)
        optimizer.step()
        assert not any(state["step"].is_cuda for state in optimizer.state.values())
        if not again:
            optimizer.load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("shape", [(8, 5), (5, 8)])
def test_float32_matrices_are_made_orthogonal_in_bfloat16(shape: tuple[int, int]) -> None:
    p = Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    q, start = Parameter(p.detach().cuda()), p.detach().clone()
    for of in (p, q):
        of.grad = of.detach().square()
        Muon([of], lr=0.01, weight_decay=0.0).step()
    apart, far = float((p - q.cpu()).norm()), float((p - start).norm())
    assert 1e-5 * far < apart < 0.03 * far


@every_class
def test_a_captured_step_replays_as_eager_steps(cls: type[Any]) -> None:
    params, expected = on_cuda(), on_cuda()
    optimizer, eager = make(cls, params, capturable=True), make(cls, expected)
    fill_gradients(params, 0)
    fill_gradients(expected, 0)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            optimizer.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for _ in range(3):
        graph.replay()
    for _ in range(6):
        eager.step()
    torch.testing.assert_close(params, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("foreach", [None, False])
def test_a_compiled_step_equals_an_eager_one(foreach: bool | None) -> None:
    torch._dynamo.reset()
    cls = CLASSES["marfinetz2025"]
    params, expected = on_cuda(), on_cuda()
    optimizer, eager = make(cls, params, foreach=foreach), make(cls, expected)
    compiled = torch.compile(optimizer.step)
    for _ in range(5):
        regression_on_device(params)
        regression_on_device(expected)
        compiled()
        eager.step()
    torch.testing.assert_close(params, expected, rtol=1e-5, atol=1e-6)


def regression_on_device(params: list[Parameter]) -> None:
    on_cpu = [Parameter(p.detach().cpu()) for p in params]
    regression(on_cpu)()
    for p, q in zip(params, on_cpu, strict=True):
        assert q.grad is not None
        p.grad = q.grad.to(p.device)
