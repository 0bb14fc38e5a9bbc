"""Hostile input gives one clear line: no traceback, no code executed, nothing written outside the folder."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from evoopt.errors import EvooptError
from tests.counts import times
from tests.hostile.guard import watched
from tests.hostile.runs import run_targets
from tests.hostile.targets import Target, targets

NAMES = [
    "rule", "genome", "hyperparameters", "unit model", "network", "space tables", "space", "space file",
    "rule file", "archive", "weights", "task", "exported name", "exported origin",
    "run folder", "report", "checkpoint", "run's configuration", "verdict",
]  # fmt: skip
NEVER_REFUSED = ("verdict", "exported origin")
QUICK = 40
OTHERS_EACH_TIME = "EVOOPT_FUZZ" in os.environ  # else the same inputs always: a test must not fail by chance


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    folder = tmp_path_factory.mktemp("valid")
    return {**targets(folder), **run_targets(folder)}


def fuzz(target: Target, folder: Path, times: int) -> int:
    """Read so many inputs; returns how many were refused."""
    refused = 0
    numbers = itertools.count()

    @settings(
        max_examples=times, database=None, derandomize=not OTHERS_EACH_TIME,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(target.inputs)
    def read(value: object) -> None:
        nonlocal refused
        own = folder / str(next(numbers))
        own.mkdir()
        with watched(folder):
            try:
                target.read(value, own)
            except EvooptError as error:
                assert str(error).strip(), "an error must say something"
                refused += 1

    read()
    return refused


@pytest.mark.parametrize("name", NAMES)
def test_hostile_input_gives_a_clear_error(
    name: str, known: dict[str, Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = fuzz(known[name], tmp_path, min(QUICK, known[name].times // 25))
    assert refused > 0 or name in NEVER_REFUSED


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", NAMES)
def test_much_hostile_input_gives_clear_errors(
    name: str, known: dict[str, Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = fuzz(known[name], tmp_path, times(known[name].times))
    print(f"{name}: {times(known[name].times)} inputs, {refused} refused")
    assert refused > 0 or name in NEVER_REFUSED


def test_all_of_them_are_more_than_a_hundred_thousand(known: dict[str, Target]) -> None:
    assert set(NAMES) == set(known)
    assert sum(target.times for target in known.values()) >= 100_000
