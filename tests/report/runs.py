"""Small runs of every individual type, finished and not, for tests of what is shown of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import evoopt
from evoopt.compare.analysis import analyse
from evoopt.compare.command import Report, json_text
from evoopt.config import RunConfig
from evoopt.evolution.stages import Stage
from evoopt.runs import Run
from evoopt.systems.gadam.config import GadamConfig
from evoopt.systems.genetic.config import GeneticConfig
from evoopt.systems.hyperparameters.config import HpoConfig, PbtConfig
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.evaluator import Evaluator
from evoopt.systems.optimizer.optimizer_search import evolve_rules
from tests.compare.stubs import comparison_of
from tests.stubs import StubExecutor

SPACE = {
    "lr": {"min": 1e-4, "max": 0.1, "default": 1e-2, "scale": "log"},
    "beta1": {"min": 0.5, "max": 0.99, "default": 0.9},
}
SERIAL = {"execution": {"executor": "serial"}}

CONFIGS: dict[str, RunConfig] = {
    "optimizer": OptimizerConfig().override(
        {
            "search": {"population": 10, "generations": 4, "seed": 7},
            "evaluation": {"tasks": ["digits", "digits_cnn"], "steps": 10, "chunk_size": 5},
        }
    ),
    "gadam": GadamConfig().override(
        {"gadam": {"population": 4, "generations": 3}, "training": {"task": "digits", "steps": 4}, **SERIAL}
    ),
    "genetic": GeneticConfig().override({"genetic": {"population": 8, "generations": 5}, **SERIAL}),
    "pbt": PbtConfig(space=SPACE).override(
        {
            "recombination": {"population": 6, "generations": 4, "fom": "loss"},
            "training": {"task": "digits", "steps": 4},
            **SERIAL,
        }
    ),
    "hpo": HpoConfig(space=SPACE).override(
        {
            "recombination": {"population": 4, "generations": 3},
            "training": {"task": "digits", "steps": 4},
            **SERIAL,
        }
    ),
}
"""One per individual type."""


def silent(stage: Stage) -> None:
    """Watches a search and says nothing."""


@dataclass
class Interrupting:
    """Interrupts a search after a number of generations."""

    left: int

    def __call__(self, stage: Stage) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def make_run(kind: str, folder: Path) -> Path:
    """A finished run; an optimizer's is scored by a formula and compared with made-up scores."""
    if kind != "optimizer":
        evoopt.search(CONFIGS[kind], out=folder).close()
        return folder
    search_optimizer(folder)
    names = [folder.name, "adam", "a </script> b"]
    metrics = ([0.9, 0.91, 0.92, 0.93], [0.8, 0.82, 0.79, 0.81], [0.5, float("nan"), 0.6, 0.5])
    scores = {task: dict(zip(names, metrics, strict=True)) for task in ("digits", "digits_cnn")}
    compare(folder, scores)
    return folder


def search_optimizer(
    folder: Path, on_stage: Callable[[Stage], None] = silent, **changes: dict[str, Any]
) -> None:
    """Search for an optimizer with a formula in the place of training."""
    config = CONFIGS["optimizer"].override(changes)
    assert isinstance(config, OptimizerConfig)
    with Run.create(folder, config) as run:
        evolve_rules(run, config, Evaluator(config, StubExecutor(), run.store), on_stage)


def compare(folder: Path, scores: dict[str, dict[str, list[float]]]) -> None:
    """Leave a comparison with these test metrics in a run folder."""
    comparison = comparison_of(scores)
    (folder / "comparison.json").write_text(json_text(Report(comparison, analyse(comparison))))
