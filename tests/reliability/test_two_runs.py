"""Two processes on one run folder: one works, the other is told so and changes nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.reliability.commands import finish, outcome, start, write_space


def test_a_second_process_on_a_run_is_refused_and_the_first_is_not_disturbed(tmp_path: Path) -> None:
    space = write_space(tmp_path, "quick")
    first = start("search", space, "--out", tmp_path / "run")
    while not (tmp_path / "run" / "run.owner").exists():
        time.sleep(0.01)
        assert first.poll() is None
    os.kill(first.pid, signal.SIGSTOP)  # it may not be done before the others have tried
    code, errors = finish("resume", tmp_path / "run")
    assert (code, errors.count("\n")) == (2, 1)
    assert f"in use by process {first.pid} on" in errors
    code, errors = finish("resume", tmp_path / "run", "--from-backup")
    assert code == 2
    assert "in use" in errors or "has no run.backup.sqlite" in errors
    code, errors = finish("search", space, "--out", tmp_path / "run")
    assert code == 2
    assert f"in use by process {first.pid} on" in errors or "is not empty" in errors
    os.kill(first.pid, signal.SIGCONT)
    first.communicate()
    assert first.returncode == 0
    assert finish("search", space, "--out", tmp_path / "alone")[0] == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "alone")
