"""The command line: thin commands over the Python API."""

from __future__ import annotations

from evoopt.cli import compare, export, schedule, search  # noqa: F401  (importing them adds their commands)
from evoopt.cli.app import app, main

__all__ = ["app", "main"]
