"""`fused=True`: the loop in one pass over memory, compiled once."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from evoopt.export import from_rule
from evoopt.optim import Adam, AdamW, Muon, preset
from tests.counts import some
from tests.export.subjects import CLASSES, STAGED, make, regression, weight_and_bias

TYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
NOT_COMPILED = [from_rule(preset(name), "NotCompiled") for name in ("adamw", "lamb")]


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tensors are left to foreach, and tests have small ones."""
    for cls in (*CLASSES.values(), *STAGED.values(), Adam, AdamW, *NOT_COMPILED):
        monkeypatch.setattr(sys.modules[cls.__module__], "_LARGE", 2)


def all_kinds(types: Sequence[torch.dtype] = TYPES) -> list[Parameter]:
    """Weights of every form a compiled step has to cope with."""
    generator = torch.Generator().manual_seed(0)
    drawn = [
        torch.randn(6, 5, generator=generator),
        torch.randn(2, 3, 4, 4, generator=generator).to(memory_format=torch.channels_last),
        torch.randn(4, 8, generator=generator)[:, ::2],
        torch.randn((), generator=generator),
        torch.randn(1, generator=generator),
        torch.empty(0, 3),
        *(torch.randn(7, generator=generator).to(dtype) for dtype in types),
        torch.randn(3, 2, generator=generator, dtype=torch.complex64),
    ]
    return [Parameter(value) for value in drawn]


def fill_gradients(params: list[Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = torch.randn(
            p.shape, generator=generator, dtype=torch.complex128 if p.is_complex() else None
        ).to(p.dtype)


def assert_fused_equals_the_loop(
    cls: type[Any], types: Sequence[torch.dtype] = TYPES, **options: Any
) -> None:
    params, expected = all_kinds(types), all_kinds(types)
    found = []
    for of, fused in ((params, True), (expected, False)):
        groups = [
            {"params": of[:3], "lr": 0.02, "weight_decay": 0.3},
            {"params": of[3:-1]},
            {"params": of[-1:], "matrix": False},
        ]
        optimizer = make(cls, groups, fused=fused, **options)
        for step in range(5):
            optimizer.param_groups[1]["lr"] = 0.01 * (step + 1)
            fill_gradients(of, step)
            of[step].grad = None
            optimizer.step()
        found.append(optimizer.state_dict()["state"])
    for i, (p, q) in enumerate(zip(params, expected, strict=True)):
        tolerance = 16 * torch.finfo(p.dtype).eps
        torch.testing.assert_close(p, q, rtol=tolerance, atol=tolerance)
        # An empty matrix has means of no rows.
        torch.testing.assert_close(
            found[0][i], found[1][i], rtol=tolerance, atol=tolerance, equal_nan=p.numel() == 0
        )
    assert all(p.is_contiguous() == q.is_contiguous() for p, q in zip(params, all_kinds(types), strict=True))


@pytest.mark.parametrize(
    ("cls", "dtype", "maximize"),
    [(CLASSES["every_term"], torch.float32, False), (STAGED["every_matrix"], torch.bfloat16, True)],
)
def test_a_fused_step_equals_that_of_the_loop(cls: type[Any], dtype: torch.dtype, maximize: bool) -> None:
    assert_fused_equals_the_loop(cls, [dtype], maximize=maximize)


def test_large_tensors_are_compiled_and_small_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[AdamW.__module__]
    monkeypatch.undo()
    calls: list[int] = []
    kernel = module._compiled(torch.float32, torch.device("cpu"), module._surroundings())  # type: ignore[attr-defined]
    monkeypatch.setattr(
        module, "_compiled", lambda *_: lambda *lists: (calls.append(lists[0][0].numel()), kernel(*lists))
    )
    found = []
    for fused in (True, False):
        params = [Parameter(torch.ones(n, 100)) for n in (1, 1000)]
        fill_gradients(params, 0)
        AdamW(params, lr=0.1, fused=fused).step()
        found.append(params)
    assert calls == [100_000]
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-6)


FUSED = some(CLASSES | STAGED, "adamw", "every_term", "warmup", "every_vector", "every_matrix")


@pytest.mark.slow
@pytest.mark.parametrize("name", FUSED)
def test_a_fused_step_of_every_class_equals_that_of_the_loop(name: str) -> None:
    # Each type is compiled anew, stages for minutes; what types need is the same for every class.
    types = TYPES if name in ("adamw", "every_term") else [torch.float32, torch.bfloat16]
    assert_fused_equals_the_loop(FUSED[name], types)


def test_a_fused_step_is_compiled_once_whatever_changes() -> None:
    optimizer = AdamW([Parameter(torch.ones(3, 5))], fused=True)
    fill_gradients(optimizer.param_groups[0]["params"], 0)
    optimizer.step()
    optimizer.add_param_group(
        {"params": [Parameter(torch.ones(n, 3)) for n in range(2, 9)], "weight_decay": 0.0}
    )
    with torch._dynamo.config.patch(error_on_recompile=True):
        for step in range(4):
            for group in optimizer.param_groups:
                group.update(lr=0.1 * step, betas=(0.1 * step, 0.2 * step), eps=0.1 * step + 1e-3)
                fill_gradients(group["params"], step)
            optimizer.step()


def test_fused_is_not_the_default() -> None:
    params = weight_and_bias()
    optimizer = Adam(params)
    assert optimizer.defaults["fused"] is None
    regression(params)()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", None)
        optimizer.step()


@pytest.mark.parametrize("cls", NOT_COMPILED, ids=["plain", "with stages"])
def test_where_nothing_can_be_compiled_fused_says_so_and_nothing_moves(
    cls: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise OSError("no compiler")

    monkeypatch.setattr(torch, "compile", lambda *args, **kwargs: broken)
    params = weight_and_bias()
    optimizer = cls(params, fused=True)
    before = copy.deepcopy(params)
    regression(params)()
    with pytest.raises(RuntimeError, match=r"^fused=True .* needs a C\+\+ compiler.* Pass fused=False"):
        optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(params, before, strict=True))
    assert {state["step"].item() for state in optimizer.state.values()} == {0}


@pytest.mark.parametrize("cls", [Adam, Muon])
@pytest.mark.parametrize("other", ["foreach", "capturable", "stochastic_rounding"])
def test_fused_is_one_way_among_others(cls: type[Any], other: str) -> None:
    with pytest.raises(
        ValueError, match="fused goes with neither foreach, capturable nor stochastic_rounding"
    ):
        cls(weight_and_bias(), fused=True, **{other: True})


@pytest.mark.parametrize("cls", FUSED.values(), ids=FUSED)
def test_a_tensor_for_lr_is_that_number(cls: type[Any]) -> None:
    found = []
    for lr in (torch.tensor(0.01), 0.01):
        params = all_kinds([torch.float32])
        optimizer = make(
            cls, [{"params": params[:-1]}, {"params": params[-1:], "matrix": False}], lr=lr, fused=True
        )
        fill_gradients(params, 0)
        optimizer.step()
        found.append(params)
    for p, q in zip(*found, strict=True):
        torch.testing.assert_close(p, q)
