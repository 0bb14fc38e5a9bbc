"""A genetic training of weights as text for the terminal."""

from __future__ import annotations

from evoopt.runs.run import Run
from evoopt.systems import models_text


def describe_result(run: Run) -> str:
    """The outcome of a finished run in a few lines."""
    return models_text.describe_result(run, "fitness")


def describe_run(run: Run) -> str:
    """State, winner and a line per generation."""
    columns = {
        "best": ("best", ".4f"),
        "median": ("median", ".4f"),
        "mean": ("mean", ".4f"),
        "std": ("std", ".4f"),
        "worst": ("worst", ".4f"),
        "evaluations": ("networks scored", ",d"),
    }
    return models_text.describe_run(run, "fitness", columns)
