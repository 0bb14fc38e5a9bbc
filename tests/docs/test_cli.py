"""Help that fits a terminal of 80 columns, completion, and a page that knows all commands and exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from evoopt.cli import app
from evoopt.cli.app import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_READER_GONE
from tests.docs.running import ROOT

PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
SCRIPT = Path(sys.executable).with_name("evoopt")


def commands_below(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands_below(child, (*path, name))


COMMANDS = dict(commands_below(typer.main.get_command(app)))
every_command = pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "evoopt")


@every_command
def test_help_fits_80_columns_and_says_something_about_everything(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    assert "…" not in result.output  # what rich puts where it cuts
    command = COMMANDS[path]
    assert command.help
    assert [p.name for p in command.params if not p.help and p.name != "help"] == []


def test_the_page_lists_all_commands_and_no_other() -> None:
    listed = set(re.findall(r"`evoopt (\w+)", PAGE.partition("## ")[0])) - {"COMMAND"}
    assert listed == {path[0] for path in COMMANDS if path}


def test_the_page_lists_the_exit_codes() -> None:
    table = PAGE.partition("## Exit codes")[2].partition("## ")[0]
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == [
        str(code) for code in (0, EXIT_ERROR, EXIT_INTERRUPTED, EXIT_READER_GONE)
    ]


@pytest.mark.skipif(not SCRIPT.exists(), reason="the package is not installed beside this Python")
@pytest.mark.parametrize(
    ("typed", "completed"), [("evoopt sea", "search"), ("evoopt search --popu", "--population")]
)
def test_a_shell_completes_commands_and_options(typed: str, completed: str) -> None:
    environment = {
        **os.environ,
        "_EVOOPT_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - 1),
    }
    result = subprocess.run(
        [SCRIPT], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout.split() == [completed]
