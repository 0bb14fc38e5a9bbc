"""Reproductions whose pictures nobody looks at."""

from __future__ import annotations

import pytest


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are empty files: to lay them out takes longer than a small experiment."""

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
