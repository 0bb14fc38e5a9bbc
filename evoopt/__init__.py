"""evoopt: discover deep-learning optimizers by evolution, and evolve models and hyperparameters.

`search`, `resume` and `open_run` do what the commands of the same names do; the classes are for people's own
models. They are imported when first used, so that ``import evoopt`` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from evoopt.errors import EvooptError

if TYPE_CHECKING:
    from evoopt.api import open_run, resume, search
    from evoopt.evolution.genetic import GeneticTrainer
    from evoopt.systems.gadam import Gadam
    from evoopt.systems.population_based_training import PopulationBasedTraining
    from evoopt.systems.three_parent_ga import ThreeParentGA

__version__ = "0.1.0"
__all__ = [
    "EvooptError",
    "Gadam",
    "GeneticTrainer",
    "PopulationBasedTraining",
    "ThreeParentGA",
    "__version__",
    "open_run",
    "resume",
    "search",
]

_PLACES = {
    "open_run": "evoopt.api",
    "resume": "evoopt.api",
    "search": "evoopt.api",
    "Gadam": "evoopt.systems.gadam",
    "GeneticTrainer": "evoopt.evolution.genetic",
    "PopulationBasedTraining": "evoopt.systems.population_based_training",
    "ThreeParentGA": "evoopt.systems.three_parent_ga",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'evoopt' has no attribute {name!r}")
