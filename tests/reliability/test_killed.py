"""A run killed at random moments, again and again, ends with the same bytes as one that was left alone."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.counts import times
from tests.reliability.commands import SPACES, finish, outcome, start, write_space

TIMES = {"quick": 16, "gadam": 10, "genetic": 8, "hpo": 8, "pbt": 8}


def killed(folder: Path, seconds: float, *arguments: str | Path, executor: str) -> str:
    """Send SIGKILL to a command so many seconds after its run folder is there; say what that hit."""
    process = start(*arguments, executor=executor)
    while not folder.exists() and process.poll() is None:
        time.sleep(0.005)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    ended = process.poll() is not None
    process.kill()
    process.communicate()
    if not (folder / "config.toml").exists():
        return "before the run began"
    return "after its end" if ended else "while it ran"


def one_run(space: Path, folder: Path, length: float, rng: random.Random, executor: str) -> tuple[str, int]:
    """Kill a run, its resumption perhaps too, and finish it; returns what the first kill hit, and kills."""
    hit = killed(folder, rng.uniform(0, length), "search", space, "--out", folder, executor=executor)
    if hit == "before the run began":
        folder = folder.with_name(folder.name + "-anew")
        code, errors = finish("search", space, "--out", folder, executor=executor)
        assert code == 0, errors
        return hit, 1
    kills = 1
    while rng.random() < 0.4:
        seconds = rng.uniform(1.5, 1.5 + length)  # the folder is there: importing takes the first part of it
        killed(folder, seconds, "resume", folder, executor=executor)
        kills += 1
    code, errors = finish("resume", folder, executor=executor)
    assert code == 0, errors
    return hit, kills


def whole(space: Path, folder: Path) -> float:
    """Leave a run alone; returns its seconds from when its folder is there."""
    process = start("search", space, "--out", folder)
    while not folder.exists():
        time.sleep(0.005)
        assert process.poll() is None
    begin = time.monotonic()
    process.communicate()
    return time.monotonic() - begin


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SPACES)
def test_a_run_killed_at_random_moments_ends_with_the_same_bytes(name: str, tmp_path: Path) -> None:
    space = write_space(tmp_path, name)
    with ThreadPoolExecutor(2) as threads:  # two at once, as the kills below: a lone run is over sooner
        lengths = list(threads.map(partial(whole, space), (tmp_path / "whole", tmp_path / "again")))
    length = min(lengths)
    expected = outcome(tmp_path / "whole")
    assert "result.json" in expected
    assert outcome(tmp_path / "again") == expected

    def case(k: int) -> tuple[str, int]:
        executor = "process" if k % 3 == 0 else "serial"
        found = one_run(space, tmp_path / f"run-{k}", length, random.Random(k), executor)
        (finished,) = [path for path in tmp_path.glob(f"run-{k}*") if (path / "result.json").exists()]
        assert outcome(finished) == expected, f"run {k} ended with other bytes"
        return found

    with ThreadPoolExecutor(2) as threads:
        cases = list(threads.map(case, range(times(TIMES[name]))))
    print(dict(Counter(hit for hit, _ in cases)), "kills:", sum(kills for _, kills in cases))
    assert sum(hit == "while it ran" for hit, _ in cases) > len(cases) / 2
