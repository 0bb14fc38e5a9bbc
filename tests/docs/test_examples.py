"""The examples run, and say what they promise."""

from __future__ import annotations

import runpy
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.docs.running import ROOT
from tests.training.conftest import one_thread

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

SMALLER: dict[str, dict[str, Any]] = {"train_on_f1": {"seeds": 1, "generations": 20}}
"""Arguments of ``main`` for those that take longer."""

SAYS = {
    "own_task": "diabetes_optimizer.py",
    "export_and_use": "the same weights as without the break: True",
    "gadam_own_model": "best of adam",
    "pbt_own_model": "fresh models by this schedule",
    "train_on_f1": "evolution on F1",
}
"""A part of what each prints."""

__all__ = ["one_thread"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_says_what_it_found(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(path)])
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(path))["main"](**SMALLER.get(path.stem, {}))
    assert SAYS[path.stem] in capsys.readouterr().out
    if path.stem == "train_on_f1":  # evolution beats a surrogate on the score it is trained on
        assert found["evolution"] > found["adam"] > 0.4


def test_people_are_told_of_every_example() -> None:
    page = (ROOT / "docs" / "own-model.md").read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES if f"`{path.name}`" not in page] == []
