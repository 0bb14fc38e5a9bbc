"""Help that fits a terminal of 80 columns, and a page that knows all commands and exit codes."""

from __future__ import annotations

import pkgutil
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from evoopt.cli import app, main
from evoopt.cli.app import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_READER_GONE
from tests.docs.running import ROOT

PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


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


def test_the_installed_command_is_this_one() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert {name: pkgutil.resolve_name(place) for name, place in scripts.items()} == {"evoopt": main}
