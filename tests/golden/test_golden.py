"""No restructuring changes a result unseen.

A change of results that is meant is kept with ``python -m tests.golden --write [case ...]``. The files in
``kept/`` of machines that are not at hand lose the case; write it there, and on a machine that has no file
all of them, at a commit that is known to be good.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.golden.cases import CASES, COMMAND, EVERYWHERE, EXACT, FAST, HERE, Outcome, kept, kept_file, run

QUICK_CASES = (*FAST, *EXACT)
every_case = pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case in QUICK_CASES else pytest.mark.slow) for case in CASES]
)


@functools.cache
def outcome(case: str) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        return run(case, Path(folder))


@every_case
def test_a_run_gives_what_was_kept(case: str) -> None:
    """Of any machine the structure, of one that has a file the bytes, too."""
    assert outcome(case).structure() == kept(EVERYWHERE)["structure"][case]
    records = kept(EVERYWHERE if case in EXACT else kept_file()).get("cases", {})
    if case not in records:
        pytest.skip(
            f"rounds in its own way: keep this machine's bytes with {COMMAND} {case}, at a good commit"
        )
    assert outcome(case).record() == records[case]


@pytest.mark.parametrize("case", CASES)
def test_the_bytes_of_every_case_are_kept_of_some_machine(case: str) -> None:
    assert any(case in kept(path).get("cases", {}) for path in EVERYWHERE.parent.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("case", FAST)
@pytest.mark.parametrize("executor", ["process", "dask"])
def test_every_executor_gives_the_same_bytes(case: str, executor: str, tmp_path: Path) -> None:
    assert run(case, tmp_path, executor) == outcome(case)


@pytest.mark.slow
def test_a_fresh_process_gives_the_same_bytes() -> None:
    command = [sys.executable, "-m", "tests.golden", *QUICK_CASES]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {case: outcome(case).record() for case in QUICK_CASES}


def test_what_is_kept_is_small() -> None:
    assert sum(path.stat().st_size for path in EVERYWHERE.parent.iterdir()) < 200_000
