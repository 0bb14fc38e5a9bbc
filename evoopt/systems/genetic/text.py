"""A genetic training of weights as text for the terminal."""

from __future__ import annotations

from functools import partial

from evoopt.systems import models_text

_COLUMNS = {
    "best": ("best", ".4f"),
    "median": ("median", ".4f"),
    "mean": ("mean", ".4f"),
    "std": ("std", ".4f"),
    "worst": ("worst", ".4f"),
    "evaluations": ("networks scored", ",d"),
}

describe_result = partial(models_text.describe_result, criterion="fitness")
describe_run = partial(models_text.describe_run, criterion="fitness", columns=_COLUMNS)
