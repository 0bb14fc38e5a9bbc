"""The versions that the package asks for are those that `.ci/run` tests with, and the README says so."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pinned(path: str) -> dict[str, str]:
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def asked_for() -> Iterator[str]:
    """What a user installs; extras for development ask for tools, and those of others for what is newest."""
    yield from PROJECT["dependencies"]
    for extra in ("dask", "schedulefree", "tensorboard"):
        yield from PROJECT["optional-dependencies"][extra]


def test_the_lowest_versions_are_tested() -> None:
    assert sorted(asked_for()) == [f"{name}>={version}" for name, version in pinned(".ci/lowest.txt").items()]


def test_the_readme_names_the_versions_that_are_tested() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    lowest, highest = pinned(".ci/lowest.txt"), pinned("constraints.txt")
    for name in ("torch", "torchvision", "numpy", "deap"):
        found = re.search(rf"\b{name} (\S+) and ([\d.]+\d)", text)
        assert found is not None, name
        assert found.groups() == (lowest[name], highest[name])
    assert f"Python {PROJECT['requires-python'].removeprefix('>=')}" in text
