"""Every code block of the README and the documentation runs, and every command in them exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.docs.blocks import FILES, MARKERS, blocks_of, commands, page_remark
from tests.docs.running import ROOT, parsed, run_here, run_on_a_copy

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
ON_A_COPY, SLOW = "on a copy", "slow"


def with_marks(page: Path) -> object:
    slow = page_remark(page) in (ON_A_COPY, SLOW)
    return pytest.param(page, marks=[pytest.mark.slow] if slow else [], id=str(page.relative_to(ROOT)))


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Give random numbers and threads back as they were: pages are run in this process."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("page", [with_marks(page) for page in PAGES])
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page_remark(page) == ON_A_COPY:
        run_on_a_copy(page, tmp_path)
    else:
        run_here(page, tmp_path, monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_the_command_line_understands_every_command_of_a_page(page: Path) -> None:
    if page_remark(page) == ON_A_COPY:
        return  # its commands may name what the page adds; they are run
    for block in blocks_of(page):
        if block.language == "sh":
            for words in commands(block.code):
                if "evoopt" in words:
                    parsed(words[words.index("evoopt") :], block.place)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_a_page_has_no_block_or_comment_that_the_tests_overlook(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    blocks = blocks_of(page)
    assert len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)) == 2 * len(blocks)
    for block in blocks:
        assert block.language, f"{block.place}: say what language it is, or `text`"
        for marker, value in block.comments:
            assert marker in MARKERS, f"{block.place}: unknown comment {marker!r}"
            assert value, f"{block.place}: {marker} what?"
        assert not block.file or block.language in FILES, block.place
    written = re.findall(rf"<!-- (?:{'|'.join(MARKERS)}):", text)
    assert len(written) == sum(len(block.comments) for block in blocks), "a comment stands before no block"
