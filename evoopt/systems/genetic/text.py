"""A genetic training of weights as text for the terminal."""

from __future__ import annotations

from functools import partial
from typing import cast

from evoopt.runs.run import Run
from evoopt.systems import models_text
from evoopt.systems.genetic.config import MEANING, GeneticConfig

_COLUMNS = {
    "best": ("best", ".4f"),
    "median": ("median", ".4f"),
    "mean": ("mean", ".4f"),
    "std": ("std", ".4f"),
    "worst": ("worst", ".4f"),
    "evaluations": ("networks scored", ",d"),
}


def _criterion(run: Run) -> str:
    fitness = cast(GeneticConfig, run.config).genetic.fitness
    return f"fitness, {MEANING.get(fitness, fitness)} of the training examples; higher is better"


describe_result = partial(models_text.describe_result, criterion=_criterion)
describe_run = partial(models_text.describe_run, criterion=_criterion, columns=_COLUMNS)
