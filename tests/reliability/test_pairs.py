"""What people bring: a random model on random data trains as in plain PyTorch, or one line says why not."""

from __future__ import annotations

import pytest

from tests.counts import times
from tests.hostile.sanitizer import missing, sanitized
from tests.reliability.pairs import try_pairs


@pytest.mark.parametrize("pairs", [100, pytest.param(times(12_000), marks=pytest.mark.slow)])
def test_a_random_model_on_random_data_trains_as_in_pytorch_or_gives_one_line(pairs: int) -> None:
    counts, kinds = try_pairs(range(pairs))
    assert kinds == {}, "python -m tests.reliability.pairs --pairs 1 --seed N tries one again"
    assert counts["equal"] > pairs / 4


@pytest.mark.skipif(bool(missing()), reason=missing())
@pytest.mark.parametrize("pairs", [50, pytest.param(times(6_000), marks=pytest.mark.slow)])
def test_no_pair_makes_a_kernel_touch_memory_that_is_not_its_own(pairs: int) -> None:
    done = sanitized("tests.reliability.pairs", "--pairs", str(pairs), "--seed", "1000000", timeout=3000)
    assert f"{pairs} pairs" in done.stdout, done.stderr[-4000:]
