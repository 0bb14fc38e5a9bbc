"""``evoopt watch`` follows a run to its end, whoever runs it and however it ends."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evoopt.cli import app
from evoopt.errors import EvooptError
from evoopt.report import write_report
from evoopt.report.watch import follow
from evoopt.runs import Run
from evoopt.systems.optimizer.text import describe_run
from tests.report.runs import CONFIGS, Interrupting, search_optimizer


def test_a_finished_run_is_told_in_a_line_per_generation(any_run: Path) -> None:
    lines = list(follow(any_run))
    with Run(any_run) as run:
        count = len(run.generations)
    assert len(lines) == count + 1
    assert lines[0].startswith(f"generation 0, of {count}  best")
    assert lines[-1].startswith("finished")
    result = CliRunner().invoke(app, ["watch", str(any_run)])
    assert result.output.splitlines() == lines


def test_a_run_without_its_closing_comparison_does_not_call_itself_finished(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    search_optimizer(folder)
    assert "closing comparison" in list(follow(folder))[-1]
    with Run(folder) as run:
        told = describe_run(run)
    assert f"finished but for its closing comparison, go on with: evoopt resume {folder}" in told
    assert "verdict  missing" in told
    assert "closing comparison was interrupted" in write_report(folder).read_text()


def test_an_interrupted_run_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        search_optimizer(tmp_path / "run", Interrupting(2))
    *told, last = follow(tmp_path / "run")
    assert len(told) == 2
    assert last == f"nobody is working on this run; go on with: evoopt resume {tmp_path / 'run'}"


def test_a_run_whose_process_was_killed_is_not_waited_for_either(tmp_path: Path) -> None:
    Run.create(tmp_path / "run", CONFIGS["optimizer"]).close()
    (tmp_path / "run" / "run.owner").write_text("process 1 on elsewhere")
    assert [line.split(";")[0] for line in follow(tmp_path / "run")] == ["nobody is working on this run"]


def test_a_run_in_another_process_is_followed_while_it_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    space = tmp_path / "space.toml"
    space.write_text(CONFIGS["genetic"].override({"genetic": {"generations": 12}}).to_toml())
    command = [sys.executable, "-m", "evoopt", "search", str(space), "--out", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not (folder / "config.toml").exists():
            assert process.poll() is None, "the search ended too early"
            time.sleep(0.01)
        lines = list(itertools.islice(follow(folder, every=0.05), 13))
    finally:
        process.kill()
        process.wait()
    assert [line.split("  ")[0] for line in lines[:-1]] == [f"generation {k}, of 12" for k in range(12)]
    assert lines[-1].startswith("finished")


def test_no_run_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(EvooptError, match="not a run folder"):
        next(follow(tmp_path))
