"""Code blocks of Markdown pages, and the comments that say how a test runs them.

A block runs as it stands. A comment on the line before it changes that:

``<!-- file: NAME -->`` writes it to a file of that name, before any block of the page runs.
``<!-- with: OLD => NEW -->`` replaces text first, to make it small; may be repeated.
``<!-- needs: MODULE -->`` leaves it out where the module is not installed; may be repeated.
``<!-- not run: REASON -->`` leaves it out, but the command line must still understand its ``evoopt`` lines.

``<!-- page: REMARK -->`` at the top speaks of a whole page: ``slow``, or ``on a copy`` of the checkout, as it
changes the package; slow as well.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RUNNABLE = ("python", "sh")
FILES = ("python", "toml", "sh", "yaml")
MARKERS = ("file", "with", "needs", "not run")

_FENCE = re.compile(
    r"(?P<comments>(?:^<!--(?:(?!-->).)*-->\n)*)^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_COMMENT = re.compile(r"^<!--\s*([\w ]+?):\s*(.*?)\s*-->$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: File it stands in.
        line: Line its code begins at.
        language: What follows the fence.
        code: Its text.
        comments: Pairs of marker and value before it.
    """

    page: Path
    line: int
    language: str
    code: str
    comments: tuple[tuple[str, str], ...] = ()

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.page.name}:{self.line}"

    def marked(self, marker: str) -> list[str]:
        """Values of a marker."""
        return [value for name, value in self.comments if name == marker]

    @property
    def file(self) -> str | None:
        """Name of the file it is the content of."""
        names = self.marked("file")
        return names[0] if names else None

    @property
    def runs(self) -> bool:
        """Whether it is executed."""
        installed = all(importlib.util.find_spec(module) for module in self.marked("needs"))
        return installed and self.language in RUNNABLE and not self.file and not self.marked("not run")

    @property
    def small(self) -> str:
        """Its code with the replacements made.

        Raises:
            AssertionError: A replacement of what is not there.
        """
        code = self.code
        for pair in self.marked("with"):
            old, arrow, new = (part.strip() for part in pair.partition(" => "))
            assert arrow, f"{self.place}: write <!-- with: OLD => NEW -->"
            assert old in code, f"{self.place}: there is no {old!r} to replace"
            code = code.replace(old, new)
        return code


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        comments = tuple(_COMMENT.findall(match["comments"]))
        found.append(Block(page, line, match["language"], match["code"], comments))
    return found


def page_remark(page: Path) -> str:
    """What the page's own comment says, empty without one."""
    match = re.match(r"<!-- page: (.*?) -->", page.read_text(encoding="utf-8"))
    return match[1] if match else ""


def commands(code: str) -> Iterator[list[str]]:
    """The words of each command of a shell block, comments left out and continued lines joined."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


def patched(text: str, hunk: str) -> str:
    """Apply a hunk of a diff without line numbers: its old lines must occur exactly once."""
    lines = [line or " " for line in hunk.rstrip("\n").splitlines()]
    old = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
    new = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
    assert text.count(old) == 1, f"found {text.count(old)} times:\n{old}"
    return text.replace(old, new)


def apply_diff(code: str, root: Path) -> None:
    """Apply a block of hunks, each file introduced by a line ``--- path`` and each hunk by ``@@``."""
    for part in re.split(r"^--- ", code, flags=re.MULTILINE)[1:]:
        name, _, hunks = part.partition("\n")
        path = root / name.strip()
        text = path.read_text(encoding="utf-8")
        for hunk in re.split(r"^@@.*\n", hunks, flags=re.MULTILINE)[1:]:
            text = patched(text, hunk)
        path.write_text(text, encoding="utf-8")
