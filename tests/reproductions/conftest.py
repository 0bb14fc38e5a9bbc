"""Reproductions whose pictures nobody looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are empty files: to lay them out takes longer than a small experiment."""

    def touch(figure: Any, path: Path, **options: Any) -> None:
        path.touch()

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", touch)
