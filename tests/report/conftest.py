"""Runs that several tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from evoopt.report import write_report
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


@pytest.fixture(scope="session")
def any_page(any_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of that run."""
    return write_report(any_run, tmp_path_factory.mktemp("pages") / "page.html")


@pytest.fixture(scope="session")
def optimizer_page(optimizer_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of that search."""
    return write_report(optimizer_run, tmp_path_factory.mktemp("pages") / "page.html")
