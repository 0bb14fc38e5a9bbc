"""A GADAM run as text for the terminal."""

from __future__ import annotations

from functools import partial

from evoopt.runs.run import Run
from evoopt.systems import models_text

_COLUMNS = {
    "best": ("best loss", ".4f"),
    "median": ("median", ".4f"),
    "metric": ("best's metric", ".4f"),
    "adopted": ("children", ".0%"),
    "untrained": ("untrained", ".0%"),
    "steps": ("steps", ",d"),
}


def _criterion(run: Run) -> str:
    return "loss on a validation batch; lower is better"


describe_result = partial(models_text.describe_result, criterion=_criterion)
describe_run = partial(models_text.describe_run, criterion=_criterion, columns=_COLUMNS)
