"""The command line: thin commands over the Python API."""

from __future__ import annotations

from evoopt.cli import compare, reporting, search, tasks, winner  # noqa: F401  (adds their commands)
from evoopt.cli.app import app, main

__all__ = ["app", "main"]
