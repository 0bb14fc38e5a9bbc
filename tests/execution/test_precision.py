"""The precision that one asks for is the one that work is done in, wherever it runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from evoopt.errors import EvooptError
from evoopt.execution import Place, check_device
from evoopt.execution.place import Precision
from evoopt.execution.precision import computing_in


class Telling:
    """Tells what products are computed in, and what in a context that asks for nothing."""

    def __call__(self, chunk: Any) -> tuple[tuple[str, bool], tuple[str, bool]]:
        with computing_in():
            inside = settings()
        return settings(), inside


def settings() -> tuple[str, bool, bool]:
    return (
        torch.get_float32_matmul_precision(),
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
    )


def make_telling(setup: Any) -> Telling:
    return Telling()


EXPECTED: dict[Precision, tuple[str, bool, bool]] = {
    "full": ("highest", False, False),
    "tf32": ("high", False, False),
    "bf16": ("highest", True, torch.cuda.is_available()),
}


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize(
    ("executor", "device", "precision"),
    [
        *(("serial", device, precision) for device in ("cpu", "cuda") for precision in EXPECTED),
        # A new process is in full precision by itself.
        ("process", "cuda", "tf32"),
        ("process", "cpu", "bf16"),
    ],
)
def test_work_is_done_in_the_precision_of_its_place(executor: Any, device: str, precision: Precision) -> None:
    with torch.autocast("cpu", torch.bfloat16):  # what the program around is in does not count
        before = settings()
        with Place(executor, 1, device=device, precision=precision).start(make_telling, None) as made:
            [result] = made.run([None])
        assert settings() == before
    assert result.value == (EXPECTED[precision], EXPECTED[precision])


def test_contexts_nest_and_what_asks_for_nothing_goes_on_as_around_it() -> None:
    before = settings()
    with computing_in("tf32"):
        with computing_in("full"), computing_in():
            assert settings() == EXPECTED["full"]
        with computing_in():
            assert settings() == EXPECTED["tf32"]
    with computing_in():
        assert settings() == EXPECTED["full"]
    assert settings() == before


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("cpu", "tf32", "needs a CUDA device: add device cuda"),
        ("cpu", "bf17", "unknown precision 'bf17'"),
    ],
)
def test_a_precision_that_cannot_be_is_refused(device: str, precision: Any, message: str) -> None:
    with pytest.raises(EvooptError, match=message):
        check_device(device, precision)


def test_only_what_rounds_otherwise_is_told_apart_in_finished_work() -> None:
    assert Place(workers=3, timeout_s=9.0).rounding == {"device": "cpu", "threads": 1}
    for precision in ("tf32", "bf16"):
        place = Place(threads_per_worker=2, device="cuda", precision=precision)
        assert place.rounding == {"device": "cuda", "threads": 2, "precision": precision}
