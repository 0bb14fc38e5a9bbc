"""Runs that several tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.runs import CONFIGS, make_run


@pytest.fixture(scope="session", params=CONFIGS)
def any_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of every kind in turn."""
    kind: str = request.param
    return make_run(kind, tmp_path_factory.mktemp("runs") / kind)


@pytest.fixture(scope="session")
def optimizer_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search for an optimizer with a comparison."""
    return make_run("optimizer", tmp_path_factory.mktemp("runs") / "optimizer")
