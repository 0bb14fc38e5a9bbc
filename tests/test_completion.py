"""What the Tab key offers, asked as bash asks."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from evoopt.cli.app import app
from evoopt.runs import Run
from tests.report.runs import CONFIGS


def offered(line: str) -> list[str]:
    words = shlex.split(line)
    at = len(words) if line.endswith(" ") else len(words) - 1
    asked = {"_EVOOPT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(at)}
    code = "import sys; sys.argv[0] = 'evoopt'; from evoopt.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True
    )
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("evoopt re", ["resume", "report", "replay", "reproduce"]),
        ("evoopt search genetic-m", ["genetic-mnist", "genetic-mnist-paper"]),
        ("evoopt search --task digits_c", ["digits_cnn"]),
        ("evoopt plot no-such-run ", []),
    ],
)
def test_names_are_completed(line: str, expected: list[str]) -> None:
    assert offered(line) == expected


def test_figures_are_those_of_the_run_on_the_line(tmp_path: Path) -> None:
    Run.create(tmp_path / "run", CONFIGS["optimizer"]).close()
    assert "genealogy" in offered(f"evoopt plot {tmp_path / 'run'} ge")
    Run.create(tmp_path / "other", CONFIGS["genetic"]).close()
    assert offered(f"evoopt plot {tmp_path / 'other'} ch") == ["chromosome"]


def test_every_command_has_its_place_in_the_help() -> None:
    from typer.main import get_command

    group = get_command(app)
    context = group.make_context("evoopt", [], resilient_parsing=True)
    assert group.list_commands(context)[:3] == ["search", "resume", "watch"]  # type: ignore[attr-defined]
