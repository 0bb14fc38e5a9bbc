"""An exception in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import evoopt
from evoopt.errors import EvooptError, NoScoreError, command, one_line


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first line\n\tsecond  line\n"), "ValueError: first line second line"),
        (ValueError(" "), "ValueError"),
        (KeyError("gene"), "KeyError: 'gene'"),
        (Speechless(), "Speechless"),
        (ValueError("x" * 5000), f"ValueError: {'x' * 285}..."),
        (EvooptError("no data;\nput it there"), "no data; put it there"),
        (NoScoreError("x" * 5000), "x" * 5000),
        (EvooptError(), "EvooptError"),
    ],
)
def test_an_exception_is_a_line_with_its_type_and_our_own_its_message(error: Exception, line: str) -> None:
    assert one_line(error) == line


def test_commands_that_are_advised_can_be_copied_wherever_the_folder_lies() -> None:
    assert command("compare", "my run", "--out", "it's") == """evoopt compare 'my run' --out 'it'"'"'s'"""
    raw = re.compile(r"evoopt [a-z]+ \{|--out \{(?!in_shell)")
    sources = list(Path(evoopt.__file__).parent.rglob("*.py"))
    assert sources
    assert [str(file) for file in sources if raw.search(file.read_text(encoding="utf-8"))] == []
