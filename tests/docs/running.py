"""How the blocks of a page are run: here, with tiny sizes, or in processes on a copy of the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from evoopt.cli import app
from evoopt.config import resolve
from tests.docs.blocks import Block, apply_diff, blocks_of, commands

ROOT = Path(__file__).parents[2]
COPIED = ("evoopt", "search_spaces", "tests", "pyproject.toml", "README.md")

SMALL: dict[str, str | bool] = {
    "population": "4",
    "generations": "2",
    "steps": "5",
    "compare": False,
    "workers": "1",
    "executor": "serial",
    "budget": "20",
    "trials": "9",
    "seeds": "2",
    "baselines": "adam",
    "tasks": "digits",
}
"""Options that make a command small, where it has them."""


def parsed(words: list[str], place: str) -> tuple[Any, dict[str, Any]]:
    """The command that ``evoopt ...`` names and its parameters, without running it.

    Raises:
        AssertionError: The command line does not understand it.
    """
    command, rest = typer.main.get_command(app), words[1:]
    while rest and rest[0] in getattr(command, "commands", {}):
        command, rest = command.commands[rest[0]], rest[1:]
    if "--help" in rest:
        return command, {}
    if hasattr(command, "commands"):
        known = {option for parameter in command.params for option in parameter.opts}
        assert known.issuperset(rest or [""]), f"{place}: evoopt has no command {' '.join(rest)!r}"
        return command, {}
    try:
        return command, command.make_context(words[0], rest).params
    except Exception as error:
        raise AssertionError(f"{place}: {' '.join(words)}: {error}") from error


def smaller(words: list[str], place: str) -> list[str]:
    """The same command with few and short trainings, in one process."""
    command, parameters = parsed(words, place)
    known = {p.name for p in command.params}
    if "space" in parameters:
        options = resolve(parameters["space"]).options
        known -= {"population", "generations", "steps", "compare"} - set(options)
    more = []
    for name, value in SMALL.items():
        if name in known:
            more += [f"--no-{name}"] if value is False else [f"--{name}", str(value)]
    return [*words, *more]


def run_here(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a page's blocks in order in one namespace and one folder, in this process."""
    blocks = blocks_of(page)
    write_files(blocks, folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with modules_of(folder):
        for block in blocks:
            if not block.runs:
                continue
            if block.language == "python":
                # Padded, so that a traceback names the line of the page.
                code = "\n" * (block.line - 1) + block.small
                exec(compile(code, str(block.page), "exec"), namespace)
                continue
            for words in commands(block.small):
                assert words[0] in ("evoopt", "python"), f"{block.place}: {words[0]} is not run: say so"
                if words[0] == "python":
                    run_process([sys.executable, *words[1:]], folder)
                else:
                    result = CliRunner().invoke(app, smaller(words, block.place)[1:], catch_exceptions=False)
                    assert result.exit_code == 0, f"{block.place}: {result.output}"


def run_on_a_copy(page: Path, folder: Path) -> None:
    """Change a copy of the checkout as the page says, and run its commands there as they stand."""
    ignore = shutil.ignore_patterns("__pycache__", ".*")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignore)
        else:
            shutil.copy(source, folder / name)
    blocks = blocks_of(page)
    write_files(blocks, folder)
    for block in blocks:
        if block.language == "diff":
            apply_diff(block.code, folder)
    for block in blocks:
        if not block.runs:
            continue
        if block.language == "python":
            run_process([sys.executable, "-c", block.small], folder)
            continue
        for words in commands(block.small):
            module = {"evoopt": "evoopt", "pytest": "pytest"}.get(words[0])
            assert module, f"{block.place}: {words[0]} is not run: say so"
            run_process([sys.executable, "-m", module, *words[1:]], folder)


def write_files(blocks: list[Block], folder: Path) -> None:
    """Write the blocks that are files."""
    for block in blocks:
        if block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")


def run_process(command: list[str], folder: Path) -> None:
    """Run a command in a folder, whose modules come first.

    Raises:
        AssertionError: It failed.
    """
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"


@contextmanager
def modules_of(folder: Path) -> Iterator[None]:
    """Forget the modules that were imported from a folder: the next page may have others of their names."""
    try:
        yield
    finally:
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(f"{folder}{os.sep}"):
                del sys.modules[name]
