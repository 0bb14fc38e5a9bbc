"""Two processes on one run folder: one works, the other is told so and changes nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from pathlib import Path

from typer.testing import CliRunner

import evoopt
from evoopt.cli import app
from evoopt.errors import EvooptError
from tests.reliability.commands import outcome, start, write_space


def refused(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments), "--executor", "serial", "--quiet"])
    assert isinstance(result.exception, EvooptError)
    return str(result.exception)


def stop_between_writes(pid: int, database: Path) -> None:
    """Stop a process, but not while it holds a lock of its database, which nobody else could read then."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        try:
            with contextlib.closing(sqlite3.connect(database, timeout=0.1)) as connection:
                connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError:
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.02)


def test_a_second_process_on_a_run_is_refused_and_the_first_is_not_disturbed(tmp_path: Path) -> None:
    space = write_space(tmp_path, "quick")
    first = start("search", space, "--out", tmp_path / "run")
    while not (tmp_path / "run" / "config.toml").exists():  # the last thing that makes it a run
        time.sleep(0.01)
        assert first.poll() is None
    stop_between_writes(first.pid, tmp_path / "run" / "run.sqlite")
    said = refused("resume", tmp_path / "run")
    assert f"in use by process {first.pid} on" in said
    assert "\n" not in said
    said = refused("resume", tmp_path / "run", "--from-backup")
    assert "in use" in said or "has no run.backup.sqlite" in said
    said = refused("search", space, "--out", tmp_path / "run")
    assert f"in use by process {first.pid} on" in said or "is not empty" in said
    os.kill(first.pid, signal.SIGCONT)
    first.communicate()
    assert first.returncode == 0
    serial = {"execution": {"executor": "serial"}}
    evoopt.search(str(space), out=tmp_path / "alone", overrides=serial).close()
    assert outcome(tmp_path / "run") == outcome(tmp_path / "alone")
