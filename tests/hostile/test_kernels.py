"""Compiled kernels refuse what does not fit, and touch no memory but their own."""

from __future__ import annotations

import pytest

from evoopt.training.native import build
from tests.counts import times
from tests.hostile.kernels import refused
from tests.hostile.odd_kernels import compare
from tests.hostile.sanitizer import missing, sanitized


@pytest.mark.skipif(build.library("linear") is None, reason="no C++ compiler here")
def test_every_argument_that_does_not_fit_a_kernel_gives_one_clear_line() -> None:
    count, failures = refused()
    assert failures == []
    assert count > 900


@pytest.mark.skipif(build.library("linear") is None, reason="no C++ compiler here")
@pytest.mark.parametrize("seed", range(200))
def test_kernels_give_what_torch_gives_for_sizes_and_layouts_of_any_kind(seed: int) -> None:
    assert compare(seed) == ""


@pytest.mark.skipif(bool(missing()), reason=missing())
@pytest.mark.parametrize("calls", [300, pytest.param(times(20_000), marks=pytest.mark.slow)])
def test_no_kernel_reads_or_writes_memory_that_is_not_its_own(calls: int) -> None:
    done = sanitized("tests.hostile.kernels", "--odd", str(calls))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.endswith(f"wrong and {calls} odd calls, 0 failures\n")


@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_the_sanitizer_would_see_it() -> None:
    assert "heap-buffer-overflow" in sanitized("tests.hostile.kernels", "--unchecked").stderr
