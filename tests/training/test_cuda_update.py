"""The CUDA kernel of updates: its source run on the CPU, what it is called with, and that it compiles."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.optim import PRESETS, UpdateRule, preset
from evoopt.training.batched_update import BatchedUpdate, run_program
from evoopt.training.coefficients import CONSTANTS, Program, step_table
from evoopt.training.native import cuda, cuda_update
from evoopt.training.native.arguments import TYPES
from evoopt.training.native.update import LISTS
from tests.rules import random_rules

from .cuda_on_cpu import compile_for_a_gpu, launch


def on_cpu(w: Tensor, how: cuda.Launch) -> None:
    launch(cuda.source("update", w.dtype, LISTS), "update", how)


def problem(rules: list[UpdateRule], size: int, dtype: torch.dtype) -> SimpleNamespace:
    rules = [rule.canonical() for rule in rules]
    program = Program.of(rules)
    generator = torch.Generator().manual_seed(size)
    w, g, m, v = (torch.randn(len(rules), size, generator=generator).to(dtype) for _ in range(4))
    g[0, :3] = torch.tensor([0.0, 1e30, -1e30]).to(dtype)[: min(3, size)]
    table = step_table(rules, program.terms, 20, None, w).at(7)
    return SimpleNamespace(
        program=program,
        w=w,
        g=g,
        m=m if program.m else None,
        v=v.square() if program.v else None,
        table=table,
    )


RULES = {
    "every preset": list(PRESETS.values()),
    "random rules": random_rules(12, seed=0),
    "adam alone": [preset("adam")] * 3,
    "sgd keeps nothing": [preset("sgd"), preset("sgd")],
}


@pytest.mark.parametrize("size", [1, 7, 64, 4096 + 4])
@pytest.mark.parametrize("dtype", list(TYPES), ids=str)
@pytest.mark.parametrize("rules", RULES.values(), ids=list(RULES))
def test_the_kernel_moves_a_population_as_the_reference_does(
    rules: list[UpdateRule], dtype: torch.dtype, size: int
) -> None:
    rules = [rule for rule in rules if not rule.canonical().active and set(dict(rule.terms)) <= TERMS_KNOWN]
    one, other = problem(rules, size, dtype), problem(rules, size, dtype)
    on_cpu(one.w, cuda_update.launch(one.program.terms, one.w, one.g, one.m, one.v, one.table))
    run_program(other.program, other.w, other.g, other.m, other.v, other.table.unsqueeze(-1))
    tolerance = {torch.float32: 3e-6, torch.float64: 1e-14}[dtype]
    for mine, reference in ((one.w, other.w), (one.m, other.m), (one.v, other.v)):
        torch.testing.assert_close(mine, reference, rtol=tolerance, atol=tolerance)


TERMS_KNOWN = set(cuda_update.PLACES)


def test_rows_of_a_larger_matrix_are_moved_alone() -> None:
    whole, reference = (problem(random_rules(6, seed=1), 96, torch.float32) for _ in range(2))
    part = slice(2, 5)
    how = cuda_update.launch(
        whole.program.terms, whole.w[part], whole.g[part], whole.m[part], whole.v[part], whole.table[:, part]
    )
    on_cpu(whole.w, how)
    before = problem(random_rules(6, seed=1), 96, torch.float32).w
    run_program(
        reference.program, reference.w, reference.g, reference.m, reference.v, reference.table.unsqueeze(-1)
    )
    torch.testing.assert_close(whole.w[part], reference.w[part], rtol=3e-6, atol=3e-6)
    assert torch.equal(whole.w[:2], before[:2])
    assert torch.equal(whole.w[5:], before[5:])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda p: {"g": p.g[:, :-1]},
        lambda p: {"g": p.g[:-1]},
        lambda p: {"m": p.m.double()},
        lambda p: {"v": p.v.to("meta")},
        lambda p: {"w": p.w.T, "g": p.g.T, "m": p.m.T, "v": p.v.T},
        lambda p: {"w": p.w[:1].expand(12, -1)},
        lambda p: {"table": p.table[:-1]},
        lambda p: {"table": p.table.T.contiguous().T},
    ],
    ids=["narrow", "few", "type", "device", "columns", "one row for all", "few terms", "order"],
)
def test_what_does_not_fit_is_refused_before_anything_is_launched(wrong: Callable) -> None:
    p = problem(random_rules(12, seed=0), 32, torch.float32)
    given = {**vars(p), **wrong(p)}
    with pytest.raises(EvooptError, match=r"must be|knows"):
        cuda_update.launch(p.program.terms, *(given[name] for name in ("w", "g", "m", "v", "table")))


def test_a_term_twice_is_refused() -> None:
    p = problem([preset("adam")] * 2, 32, torch.float32)
    table = torch.cat([p.table, p.table[len(CONSTANTS) :]])
    with pytest.raises(EvooptError, match="once"):
        cuda_update.launch(p.program.terms * 2, p.w, p.g, p.m, p.v, table)


@pytest.mark.parametrize("dtype", list(TYPES), ids=str)
def test_the_kernel_compiles_for_a_gpu_where_torch_brings_the_compiler(dtype: torch.dtype) -> None:
    compile_for_a_gpu(cuda.source("update", dtype, LISTS), "update")


@pytest.mark.cuda
@pytest.mark.parametrize("rules", RULES.values(), ids=list(RULES))
def test_an_update_on_a_device_is_that_of_the_cpu(rules: list[UpdateRule]) -> None:
    rules = [rule for rule in rules if not rule.canonical().active and set(dict(rule.terms)) <= TERMS_KNOWN]
    w = torch.randn(len(rules), 1000, generator=torch.Generator().manual_seed(0))
    on_device, here = w.cuda(), w.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        updates = [BatchedUpdate(rules, 20, x) for x in (on_device, here)]
    assert updates[0]._native is cuda_update
    for step in range(20):
        g = torch.randn(len(rules), 1000, generator=torch.Generator().manual_seed(step))
        updates[0].step(on_device, g.cuda(), step)
        updates[1].step(here, g, step)
    torch.testing.assert_close(on_device.cpu(), here, rtol=1e-4, atol=1e-5)
