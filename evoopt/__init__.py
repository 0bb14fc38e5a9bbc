"""evoopt: discover deep-learning optimizers by evolution, and evolve models and hyperparameters.

`search`, `resume` and `open_run` do what the commands of the same names do; the classes are for people's own
models. They are imported when first used, so that ``import evoopt`` stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evoopt.errors import EvooptError
from evoopt.first_use import at_first_use
from evoopt.version import __version__

if TYPE_CHECKING:
    from evoopt.api import open_run, resume, search, search_restarts
    from evoopt.systems.gadam.gadam import Gadam
    from evoopt.systems.genetic.genetic_trainer import GeneticTrainer
    from evoopt.systems.hyperparameters.optuna_sampler import ThreeParentSampler
    from evoopt.systems.hyperparameters.population_based_training import PopulationBasedTraining
    from evoopt.systems.hyperparameters.three_parent_ga import ThreeParentGA
    from evoopt.systems.hyperparameters.torch_scheduler import ScheduleLR

__all__ = [
    "EvooptError",
    "Gadam",
    "GeneticTrainer",
    "PopulationBasedTraining",
    "ScheduleLR",
    "ThreeParentGA",
    "ThreeParentSampler",
    "__version__",
    "open_run",
    "resume",
    "search",
    "search_restarts",
]

_MODULES = {
    "open_run": "evoopt.api",
    "resume": "evoopt.api",
    "search": "evoopt.api",
    "search_restarts": "evoopt.api",
    "Gadam": "evoopt.systems.gadam.gadam",
    "GeneticTrainer": "evoopt.systems.genetic.genetic_trainer",
    "PopulationBasedTraining": "evoopt.systems.hyperparameters.population_based_training",
    "ScheduleLR": "evoopt.systems.hyperparameters.torch_scheduler",
    "ThreeParentGA": "evoopt.systems.hyperparameters.three_parent_ga",
    "ThreeParentSampler": "evoopt.systems.hyperparameters.optuna_sampler",
}

__getattr__ = at_first_use(__name__, _MODULES)
