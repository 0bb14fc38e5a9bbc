"""The site builds without a warning and without a network, and its figures stand in result files."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from evoopt.export.write_presets import PRESET_CLASSES
from evoopt.optim import MORE_TERMS, STAGED_PRESETS, STAGES, TERMS
from evoopt.optim.stages.annealing import DECAY_SHAPES
from evoopt.optim.stages.readout import READOUTS
from tests.docs.running import ROOT
from tests.docs.test_pages import IDS, PAGES

NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?%?")


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("material") is None or importlib.util.find_spec("mkdocstrings") is None,
    reason="needs the extra 'docs'",
)
def test_the_site_builds_strictly_and_asks_nobody_else_for_anything(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, **NO_NETWORK, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="(\w+://[^"]*)', html)
        loaded += re.findall(r'<link[^>]*\shref="(\w+://[^"]*)', html)
        assert loaded == [], page
    spaces = (tmp_path / "spaces" / "index.html").read_text(encoding="utf-8")
    assert "max_replicates" in spaces  # the settings were filled in
    assert (tmp_path / "results" / "marfinetz2025" / "differences.png").is_file()


def test_the_page_of_the_rule_language_tells_every_entry_of_its_registries() -> None:
    hooks = runpy.run_path(str(ROOT / "docs" / "hooks.py"))
    text = hooks["on_page_markdown"]((ROOT / "docs" / "rule-language.md").read_text(encoding="utf-8"))
    assert not re.search(r"<!-- (?!not run: )", text)  # every question of the page was answered
    for entry in (*STAGES, *TERMS, *MORE_TERMS, *DECAY_SHAPES, *READOUTS):
        assert f"| `{entry.name}` | `{entry.formula}` |" in text.replace("\\|", "|")
        assert entry.source in text
    for name in STAGED_PRESETS:
        assert f"| `{name}` | `{PRESET_CLASSES[name]}` |" in text


@pytest.mark.parametrize("page", ["spaces.md", "rule-language.md"])
def test_tables_in_the_pages_are_those_of_the_registries(page: str) -> None:
    hooks = runpy.run_path(str(ROOT / "docs" / "hooks.py"))
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert page in hooks["PAGES"]
    assert hooks["with_tables"](text) == text, "write them anew: python docs/hooks.py"


def test_the_navigation_has_every_page_and_no_other() -> None:
    docs = ROOT / "docs"
    listed = re.findall(
        r"^ +- .*: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(listed) == sorted(page.relative_to(docs).as_posix() for page in docs.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_between_files_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!\w+:)([^)#\s]+)", text):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_figures_that_claim_a_source_stand_in_it(page: Path) -> None:
    """A comment ``<!-- figures from: FILES -->`` before a table says where all of its numbers are from."""
    text = page.read_text(encoding="utf-8")
    for sources, table in re.findall(r"<!-- figures from: (.+) -->\n+((?:\|.*\n)+)", text):
        files = [(ROOT / source).read_text(encoding="utf-8") for source in sources.split()]
        known = {number for file in files for number in _NUMBER.findall(file)}
        rows = table.splitlines()[2:]
        numbers = [number for row in rows for cell in row.split("|")[2:] for number in _NUMBER.findall(cell)]
        assert numbers
        assert [number for number in numbers if number not in known] == []
