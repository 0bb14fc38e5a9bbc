"""A run over hyperparameters as text for the terminal."""

from __future__ import annotations

from functools import partial

from evoopt.systems import models_text

_COLUMNS = {
    "best": ("best", ".4f"),
    "median": ("median", ".4f"),
    "mean": ("mean", ".4f"),
    "failed": ("failed", "d"),
    "best_ever": ("best ever", ".4f"),
    "steps": ("steps", ",d"),
    "evaluations": ("trainings", ",d"),
}

describe_result = partial(models_text.describe_result, criterion="figure of merit")
describe_run = partial(models_text.describe_run, criterion="figure of merit", columns=_COLUMNS)
