"""What a step of an exported class does and does not do, on a CPU, for presets and random rules alike."""

from __future__ import annotations

import copy
import inspect
import math
import sys
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau, StepLR
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.export.subjects import (
    CLASSES,
    IMPLEMENTATIONS,
    every_class,
    every_implementation,
    make,
    regression,
    settings,
    weight_and_bias,
)

both_implementations = pytest.mark.parametrize(
    "implementation", IMPLEMENTATIONS.values(), ids=IMPLEMENTATIONS
)


def loss_change(optimizer: torch.optim.Optimizer, params: list[Parameter], schedulers: Any = ()) -> float:
    closure = regression(params)
    before = closure().item()
    for _ in range(20):
        loss = optimizer.step(closure)
        for scheduler in schedulers:
            scheduler.step(loss) if isinstance(scheduler, ReduceLROnPlateau) else scheduler.step()
    return closure().item() - before


@every_implementation
@pytest.mark.parametrize(("with_schedulers", "contiguous"), [(False, False), (True, True)])
def test_steps_go_downhill_or_uphill_if_asked(
    cls: type[Any], implementation: dict[str, Any], with_schedulers: bool, contiguous: bool
) -> None:
    for options in settings(cls):
        params = weight_and_bias()
        if not contiguous:
            params = [Parameter(torch.stack([p.detach(), p.detach()], dim=-1)[..., 0]) for p in params]
            assert not params[0].is_contiguous()
        optimizer = make(cls, params, **implementation, **options)
        schedulers: list[LRScheduler] = []
        if with_schedulers:
            schedulers = [StepLR(optimizer, step_size=10, gamma=0.9), ReduceLROnPlateau(optimizer)]
        change = loss_change(optimizer, params, schedulers)
        assert change > 0 if options.get("maximize") else change < 0, options


@every_class
@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_tensor_lr_of_one_element_equals_the_number(cls: type[Any], shape: tuple[int, ...]) -> None:
    params, expected = weight_and_bias(torch.float64), weight_and_bias(torch.float64)
    lr = torch.full(shape, 1e-3, dtype=torch.float64)
    optimizers = make(cls, params, lr=lr), make(cls, expected, lr=1e-3)
    for _ in range(5):
        for optimizer, of in zip(optimizers, (params, expected), strict=True):
            optimizer.step(regression(of))
    torch.testing.assert_close(params, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(lr, torch.full(shape, 1e-3, dtype=torch.float64))  # steps do not write to it


def trained(cls: type[Any], foreach: bool, options: dict[str, Any]) -> tuple[list[Tensor], dict[str, Any]]:
    torch.manual_seed(1)
    model = torch.nn.Sequential(
        torch.nn.Linear(2, 3), torch.nn.Sigmoid(), torch.nn.Linear(3, 1), torch.nn.Sigmoid()
    ).double()
    scalar = Parameter(torch.tensor(0.5, dtype=torch.float64))
    empty = Parameter(torch.empty(0, 3, dtype=torch.float64))
    single = Parameter(torch.tensor([[0.5, -1.0]]))  # float32 among float64
    params = [*model.parameters(), scalar, empty, single]
    optimizer = make(cls, params, foreach=foreach, **options)
    inputs = torch.linspace(0.1, 0.6, 6, dtype=torch.float64).reshape(3, 2)
    for step in range(7):
        optimizer.zero_grad()
        model[2].requires_grad_(step not in (3, 4))  # frozen for two steps
        if step != 2:  # nothing has a gradient in this step
            model(inputs).sum().backward()
            for p in params[-3:]:
                p.grad = torch.full_like(p, 0.1 * step - 0.3)
        optimizer.step()
    return [p.detach() for p in params], optimizer.state_dict()["state"]


@every_class
def test_foreach_equals_the_loop_for_frozen_empty_and_gradientless_parameters(cls: type[Any]) -> None:
    for options in settings(cls):
        loop, loop_state = trained(cls, False, options)
        foreach, foreach_state = trained(cls, True, options)
        torch.testing.assert_close(foreach, loop, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(foreach[:4], loop[:4], rtol=1e-12, atol=1e-12)
        # An empty matrix has means of no rows.
        torch.testing.assert_close(foreach_state, loop_state, rtol=1e-6, atol=1e-7, equal_nan=True)


@every_implementation
def test_groups_are_equal_to_optimizers_of_their_own(cls: type[Any], implementation: dict[str, Any]) -> None:
    params, apart = weight_and_bias(torch.float64), weight_and_bias(torch.float64)
    first, second = {"lr": 0.02, "weight_decay": 0.3}, {"lr": 1e-28, "weight_decay": 0.0}
    together = make(
        cls, [{"params": params[:1], **first}, {"params": params[1:], **second}], **implementation
    )
    separate = [
        make(cls, apart[:1], **first, **implementation),
        make(cls, apart[1:], **second, **implementation),
    ]
    unmoved = params[1].detach().clone()
    for _ in range(5):
        together.step(regression(params))
        regression(apart)()
        for optimizer in separate:
            optimizer.step()
    assert torch.equal(params[0], apart[0])
    assert torch.equal(params[1], apart[1])
    assert torch.equal(params[1], unmoved)  # its learning rate is next to nothing
    assert not torch.equal(params[0], weight_and_bias(torch.float64)[0])


@every_implementation
def test_parameters_without_gradient_stay_and_get_no_state(
    cls: type[Any], implementation: dict[str, Any]
) -> None:
    params = weight_and_bias()
    before = copy.deepcopy(params)
    optimizer = make(cls, params, weight_decay=0.1, **implementation)
    assert optimizer.step(lambda: 1.5) == 1.5
    assert all(torch.equal(p, q) for p, q in zip(params, before, strict=True))
    assert len(optimizer.state) == 0


@every_implementation
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_zero_gradients_do_not_move_undecayed_parameters(
    cls: type[Any], implementation: dict[str, Any], dtype: torch.dtype
) -> None:
    params = weight_and_bias(dtype)
    before = copy.deepcopy(params)
    undecayed = {name: 0.0 for name in ("weight_decay", "l2") if name in inspect.signature(cls).parameters}
    optimizer = make(cls, params, **undecayed, **implementation)
    for p in params:
        p.grad = torch.zeros_like(p)
    for _ in range(3):
        optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(params, before, strict=True))


@every_implementation
def test_a_step_leaves_gradients_alone(cls: type[Any], implementation: dict[str, Any]) -> None:
    for options in settings(cls):
        params = weight_and_bias()
        regression(params)()
        gradients = [p.grad for p in params if p.grad is not None]
        before = [grad.clone() for grad in gradients]
        make(cls, params, **implementation, **options).step()
        assert all(torch.equal(g, b) for g, b in zip(gradients, before, strict=True))
        assert all(p.grad is g for p, g in zip(params, gradients, strict=True))


@every_class
def test_the_closure_may_use_gradients_and_its_loss_is_returned(cls: type[Any]) -> None:
    params = weight_and_bias()
    modes = []

    def closure() -> float:
        modes.append(torch.is_grad_enabled())
        return 2.5

    optimizer = make(cls, params)
    with torch.no_grad():
        assert optimizer.step(closure) == 2.5
    assert modes == [True]
    assert optimizer.step() is None
    assert torch.is_grad_enabled()


@every_implementation
def test_maximizing_is_minimizing_the_negative(cls: type[Any], implementation: dict[str, Any]) -> None:
    up, down = weight_and_bias(torch.float64), weight_and_bias(torch.float64)
    maximizer = make(cls, up, maximize=True, **implementation)
    minimizer = make(cls, down, **implementation)
    for seed in range(4):
        for p, q in zip(up, down, strict=True):
            gradient = torch.randn(p.shape, generator=torch.Generator().manual_seed(seed), dtype=p.dtype)
            p.grad, q.grad = gradient, -gradient
        maximizer.step()
        minimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(up, down, strict=True))


@every_implementation
def test_complex_parameters_move_as_their_real_and_imaginary_parts(
    cls: type[Any], implementation: dict[str, Any]
) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, dtype=like.dtype, generator=generator)

    shapes = [torch.empty(4, 3, dtype=torch.complex128), torch.empty(2, dtype=torch.float64)]
    params = [Parameter(draw(like)) for like in shapes]
    parts = [Parameter(torch.view_as_real(p.detach()).clone()) for p in params[:1]]
    parts.append(Parameter(params[1].detach().clone()))  # real among complex
    groups = ([{"params": of, "matrix": False}] for of in (params, parts))
    optimizers = [make(cls, of, **implementation) for of in groups]
    for _ in range(4):
        params[0].grad, params[1].grad = draw(params[0]), draw(params[1])
        parts[0].grad, parts[1].grad = torch.view_as_real(params[0].grad), params[1].grad
        for optimizer in optimizers:
            optimizer.step()
    assert torch.equal(torch.view_as_real(params[0].detach()), parts[0])
    assert torch.equal(params[1], parts[1])
    assert all(v.dtype == params[0].dtype for k, v in optimizers[0].state[params[0]].items() if k != "step")


@every_implementation
def test_state_holds_a_float32_step_and_buffers_in_the_parameters_layout(
    cls: type[Any], implementation: dict[str, Any]
) -> None:
    parameter = Parameter(torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last).bfloat16())
    parameter.grad = torch.ones_like(parameter)
    optimizer = make(cls, [parameter], **implementation)
    assert len(optimizer.state) == 0  # made at the first step
    optimizer.step()
    optimizer.step()
    state = dict(optimizer.state[parameter])
    step = state.pop("step")
    assert (step.shape, step.dtype, step.item()) == ((), torch.float32, 2.0)
    if "average" in state:
        assert state.pop("average").dtype == torch.float32
    for buffer in state.values():
        assert buffer.dtype == torch.bfloat16
        assert buffer.shape != parameter.shape or buffer.is_contiguous(memory_format=torch.channels_last)
    assert bool(torch.isfinite(parameter).all())


@every_implementation
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_step_in_low_precision_is_the_float32_one_rounded_once(
    cls: type[Any], implementation: dict[str, Any], dtype: torch.dtype
) -> None:
    params, exact = weight_and_bias(dtype), weight_and_bias(dtype)
    for p in exact:
        p.data = p.data.float()
    options = {"lr": 0.01, "weight_decay": 0.1, **implementation}
    optimizer, wide = make(cls, params, **options), make(cls, exact, **options)
    for _ in range(4):
        optimizer.step(regression(params))
        for p, q in zip(params, exact, strict=True):
            assert p.grad is not None
            q.grad = p.grad.float()
        wide.step()
        for p, q in zip(params, exact, strict=True):
            q.data.copy_(q.to(dtype))
            assert torch.equal(p.float(), q)
            for name in wide.state[q].keys() - {"average"}:
                value = wide.state[q][name]
                value.copy_(value if name == "step" else value.to(dtype))
                assert torch.equal(optimizer.state[p][name].float(), value)


@every_implementation
def test_steps_too_small_for_bfloat16_count_on_average_when_rounded_at_random(
    cls: type[Any], implementation: dict[str, Any]
) -> None:
    moved = {}
    torch.manual_seed(0)
    for kind, dtype in (("nearest", torch.bfloat16), ("at random", torch.bfloat16), ("exact", torch.float32)):
        p = Parameter(torch.ones(20_000, dtype=dtype))
        optimizer = make(cls, [p], lr=1e-4, stochastic_rounding=kind == "at random", **implementation)
        for _ in range(20):
            p.grad = torch.ones_like(p)
            optimizer.step()
        moved[kind] = 1 - p.double().mean().item()
    assert moved["nearest"] == 0 < 1e-4 < moved["exact"]
    assert moved["at random"] == pytest.approx(moved["exact"], rel=0.1)


@both_implementations
def test_what_is_not_finite_stays_so_when_rounded_at_random(implementation: dict[str, Any]) -> None:
    p = Parameter(torch.tensor([math.nan, math.inf, -math.inf, 3e38, 0.0, -0.0]).bfloat16())
    optimizer = make(
        CLASSES["sgd"], [p], lr=0.0, weight_decay=0.0, stochastic_rounding=True, **implementation
    )
    p.grad = torch.zeros_like(p)
    before = p.detach().clone()
    optimizer.step()
    assert torch.equal(p.nan_to_num(1.0), before.nan_to_num(1.0))
    assert p.isnan().tolist() == before.isnan().tolist()


@both_implementations
def test_many_tensors_of_low_precision_are_all_stepped(implementation: dict[str, Any]) -> None:
    sizes = [2**19, 3, 2**20, 5, 2**19, 2**19, 7]
    params = [Parameter(torch.ones(size, dtype=torch.bfloat16)) for size in sizes]
    for p in params:
        p.grad = torch.ones_like(p)
    make(CLASSES["adam"], params, lr=0.25, **implementation).step()
    assert {p.unique().item() for p in params} == {0.75}


class PeakMemory(TorchDispatchMode):
    """Bytes of tensors that operations made and that live at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {
            t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)
        }
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in before:
                self.bytes += tensor.nbytes
                weakref.finalize(tensor, self.freed, tensor.nbytes)
        self.peak = max(self.peak, self.bytes)
        return result

    def freed(self, size: int) -> None:
        self.bytes -= size


@pytest.mark.parametrize("maximize", [False, True])
def test_a_foreach_step_needs_no_more_memory_than_that_of_torchs_adamw(maximize: bool) -> None:
    peaks = []
    for cls in (CLASSES["adamw"], torch.optim.AdamW):
        params = [Parameter(torch.ones(1000)) for _ in range(10)]
        optimizer = cls(params, maximize=maximize, foreach=True)
        for _ in range(2):
            for p in params:
                p.grad = torch.ones_like(p)
            with PeakMemory() as memory:
                optimizer.step()
        peaks.append(memory.peak)
    assert peaks[0] <= peaks[1] * 1.01


def test_steps_are_counted_in_the_default_precision() -> None:
    params = weight_and_bias()
    torch.set_default_dtype(torch.float64)
    try:
        optimizer = make(CLASSES["adam"], params)
        optimizer.step(regression(params))
    finally:
        torch.set_default_dtype(torch.float32)
    assert optimizer.state[params[0]]["step"].dtype == torch.float64  # as in torch.optim


@every_implementation
@pytest.mark.parametrize("tensor_lr", [False, True])
def test_the_arithmetic_for_captured_steps_equals_the_plain_one(
    cls: type[Any], implementation: dict[str, Any], tensor_lr: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tensor arithmetic a CUDA graph captures runs on a CPU too, without the check of the device.
    monkeypatch.setattr(sys.modules[cls.__module__], "_get_capturable_supported_devices", lambda: ["cpu"])
    params, expected = weight_and_bias(torch.float64), weight_and_bias(torch.float64)
    lr = torch.tensor(1e-3) if tensor_lr else 1e-3
    optimizer = make(cls, params, lr=lr, weight_decay=0.1, capturable=True, **implementation)
    plain = make(cls, expected, lr=1e-3, weight_decay=0.1, foreach=False)
    for _ in range(5):
        optimizer.step(regression(params))
        plain.step(regression(expected))
        torch.testing.assert_close(params, expected, rtol=1e-6, atol=1e-7)  # steps are counted in float32
    assert not torch.equal(params[0], weight_and_bias(torch.float64)[0])


@every_class
def test_clipped_gradients_give_the_step_of_the_clipped_values(cls: type[Any]) -> None:
    params, expected = weight_and_bias(), weight_and_bias()
    optimizers = make(cls, params), make(cls, expected)
    for of in (params, expected):
        regression(of)()
    norm = torch.nn.utils.clip_grad_norm_(params, 0.1)
    assert norm > 0.1
    for p in expected:
        assert p.grad is not None
        p.grad.mul_(0.1 / (norm + 1e-6))
    for optimizer in optimizers:
        optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(params, expected, strict=True))
