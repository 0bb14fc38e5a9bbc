"""Commands that only read answer without torch, whose import takes longer than all else that they do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evoopt.tasks import write_catalogue

_ANSWER = """
import os, sys
sys.argv[0] = "evoopt"
from evoopt.cli import main
for completion in ("", "complete_bash"):
    os.environ["_EVOOPT_COMPLETE"] = completion
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
    print(chr(0))
assert "torch" not in sys.modules
"""


def answers(arguments: list[str], typed: str) -> tuple[str, list[str]]:
    """What a command prints, and what the Tab key then offers, in one process."""
    command = [sys.executable, "-c", _ANSWER, *arguments]
    environment = {**os.environ, "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    printed, offered, _ = done.stdout.split("\0\n")
    return printed, offered.split()


@pytest.mark.parametrize(
    ("command", "part", "typed", "name"),
    [
        ("spaces", "marfinetz2025", "evoopt search ", "marfinetz2025"),
        ("tasks", "cifar10", "evoopt search --task ", "cifar10"),
        ("--help", "search", "evoopt sea", "search"),
    ],
)
def test_what_there_is_is_listed_and_completed_without_torch(
    command: str, part: str, typed: str, name: str
) -> None:
    printed, offered = answers([command], typed)
    assert part in printed
    assert name in offered


def test_a_run_of_any_type_is_shown_and_its_figures_completed_without_torch(any_run: Path) -> None:
    printed, offered = answers(["show", str(any_run)], f"evoopt plot {any_run} ")
    assert "(finished" in printed
    assert "fitness" in offered


def test_what_is_mistyped_is_refused_without_torch() -> None:
    refused = """
import sys
from evoopt.cli import main
for arguments in (["quik"], ["quick", "--population", "1"], ["pbt-digits", "--patience", "0"]):
    sys.argv = ["evoopt", "search", *arguments]
    try:
        main()
    except SystemExit as end:
        assert end.code == 2, end.code
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", refused], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error"] * 3


def test_the_catalogue_says_what_the_tasks_say() -> None:
    found = write_catalogue.PATH.read_text(encoding="utf-8")
    assert "".join(found.split()) == "".join(write_catalogue.text().split()), "write it anew"
