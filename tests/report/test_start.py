"""Commands that only read answer without torch, whose import takes longer than all else that they do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evoopt.tasks import write_catalogue

_ANSWER = """
import sys
sys.argv[0] = "evoopt"
from evoopt.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert "torch" not in sys.modules
"""


def answer(*arguments: str, **environment: str) -> str:
    command = [sys.executable, "-c", _ANSWER, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def pressed(words: str) -> str:
    return answer(COMP_WORDS=words, COMP_CWORD=str(words.count(" ")), _EVOOPT_COMPLETE="complete_bash")


@pytest.mark.parametrize("command", ["spaces", "tasks", "--help"])
def test_what_there_is_is_listed_without_torch(command: str) -> None:
    expected = {"spaces": "marfinetz2025", "tasks": "cifar10", "--help": "search"}
    assert expected[command] in answer(command)


def test_a_run_of_any_type_is_shown_without_torch(any_run: Path) -> None:
    assert "(finished" in answer("show", str(any_run))


def test_a_press_of_tab_is_answered_without_torch() -> None:
    assert "marfinetz2025" in pressed("evoopt search ")
    assert "cifar10" in pressed("evoopt search --task ")


def test_figures_of_a_run_of_any_type_are_completed_without_torch(any_run: Path) -> None:
    assert "fitness" in pressed(f"evoopt plot {any_run} ").split()


def test_the_catalogue_says_what_the_tasks_say() -> None:
    found = write_catalogue.PATH.read_text(encoding="utf-8")
    assert "".join(found.split()) == "".join(write_catalogue.text().split()), "write it anew"
