"""Names that the Tab key completes."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from evoopt.errors import EvooptError


def space_names(incomplete: str) -> list[str]:
    """Shipped search spaces."""
    from evoopt.config.spaces import spaces_folder

    return _beginning(incomplete, sorted(file.stem for file in spaces_folder().glob("*.toml")))


def task_names(incomplete: str) -> list[str]:
    """Built-in tasks."""
    from evoopt.tasks.catalogue import CATALOGUE

    return _beginning(incomplete, CATALOGUE)


def figure_kinds(context: typer.Context, incomplete: str) -> list[str]:
    """Figures of the run that stands on the line already; of no run, none."""
    from evoopt.report import figure_names
    from evoopt.runs.run import Run

    try:
        with Run(context.params["run"]) as run:
            return _beginning(incomplete, figure_names(run))
    except (EvooptError, KeyError, TypeError):
        return []


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
