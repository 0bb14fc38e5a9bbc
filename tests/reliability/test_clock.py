"""Nothing depends on the wall clock: it may go backwards, stand still or jump by years."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import evoopt
from evoopt.runs import Run
from evoopt.systems.optimizer.config import OptimizerConfig
from tests.reliability.commands import write_space

REAL = time.time


def backwards() -> Iterator[float]:
    begin = REAL()
    yield from (begin - 3600 * k for k in itertools.count())


def jumping() -> Iterator[float]:
    begin = REAL()
    yield from (begin + (-1) ** k * 1e8 for k in itertools.count())


def standing() -> Iterator[float]:
    yield from itertools.repeat(REAL())


def searched(folder: Path, executor: str) -> Run:
    execution = {"execution": {"executor": executor, "workers": 1}}
    return evoopt.search(str(write_space(folder, "quick")), out=folder / "run", overrides=execution)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    with searched(tmp_path_factory.mktemp("right"), "serial") as run:
        return run.result_json()


@pytest.mark.parametrize(
    ("clock", "executor"), [(backwards, "serial"), (jumping, "process"), (standing, "serial")]
)
def test_a_search_on_a_wrong_clock_gives_the_same_bytes(
    clock: Callable[[], Iterator[float]],
    executor: str,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = clock()
    monkeypatch.setattr(time, "time", lambda: next(ticks))
    with searched(tmp_path, executor) as run:
        assert run.result_json() == expected
        assert all(row.result.seconds >= 0 for row in run.store.evaluations())


def test_a_folder_named_by_a_clock_that_went_back_is_never_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda *_: "20200101-000000")
    noise = {"evaluation": {"fitness": "noise"}, "search": {"generations": 1, "compare": False}}
    config = OptimizerConfig().override(noise).override({"execution": {"executor": "serial"}})
    with evoopt.search(config) as run:
        kept = (run.folder / "run.sqlite").read_bytes()
        with evoopt.search(config) as later:
            assert later.folder.parent == run.folder.parent
            assert later.folder != run.folder
        assert (run.folder / "run.sqlite").read_bytes() == kept
