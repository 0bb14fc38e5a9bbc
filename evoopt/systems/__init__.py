"""The individual types that ``evoopt search`` runs: what one must offer, and where each is found."""

from __future__ import annotations

import importlib
from typing import Protocol, cast

from evoopt.config import RunConfig
from evoopt.runs.run import Run


class System(Protocol):
    """An individual type as a module of this package with three functions."""

    def search(self, run: Run, config: RunConfig, quiet: bool) -> None:
        """Run to the end, from the run's checkpoint if there is one, and name a winner."""

    def describe_result(self, run: Run) -> str:
        """The outcome of a finished run in a few lines."""

    def describe_run(self, run: Run) -> str:
        """Everything that ``evoopt show`` prints, of a run that may be unfinished."""


def system_of(config: RunConfig) -> System:
    """The system that a configuration asks for."""
    return cast(System, importlib.import_module(f"evoopt.systems.{config.individual}"))
