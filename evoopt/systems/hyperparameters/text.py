"""A run over hyperparameters as text for the terminal."""

from __future__ import annotations

from functools import partial
from typing import cast

from evoopt.runs.run import Run
from evoopt.systems import models_text
from evoopt.systems.hyperparameters.config import RecombinationConfig
from evoopt.tasks.catalogue import metric_of

_COLUMNS = {
    "best": ("best", ".4f"),
    "median": ("median", ".4f"),
    "mean": ("mean", ".4f"),
    "failed": ("failed", "d"),
    "best_ever": ("best ever", ".4f"),
    "steps": ("steps", ",d"),
    "evaluations": ("trainings", ",d"),
}

_MEANING = {"error": "1 - {metric}", "loss": "loss", "perplexity": "exp(loss)"}


def _criterion(run: Run) -> str:
    section = cast(RecombinationConfig, run.config).recombination
    metric, target = metric_of(run.config.tasks[0]), getattr(section, "target", None)
    what = _MEANING.get(section.fom, "{fom} to a {metric} of {target}, extrapolated where it was missed")
    what = what.format(metric=metric, fom=section.fom, target=target)
    return f"{section.fom}, {what} on validation data; lower is better"


describe_result = partial(models_text.describe_result, criterion=_criterion)
describe_run = partial(models_text.describe_run, criterion=_criterion, columns=_COLUMNS)
