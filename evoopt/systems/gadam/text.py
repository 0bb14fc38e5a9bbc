"""A GADAM run as text for the terminal."""

from __future__ import annotations

from evoopt.runs.run import Run
from evoopt.systems import models_text


def describe_result(run: Run) -> str:
    """The outcome of a finished run in a few lines."""
    return models_text.describe_result(run, "loss")


def describe_run(run: Run) -> str:
    """State, winner and a line per generation."""
    columns = {
        "best": ("best loss", ".4f"),
        "median": ("median", ".4f"),
        "metric": ("best's metric", ".4f"),
        "adopted": ("children", ".0%"),
        "untrained": ("untrained", ".0%"),
        "steps": ("steps", ",d"),
    }
    return models_text.describe_run(run, "loss", columns)
