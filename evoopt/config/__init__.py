"""How a run is asked for: configurations by individual type, and the space files they are read from."""

from __future__ import annotations

from evoopt.config.gadam import GadamConfig
from evoopt.config.genetic import GeneticConfig
from evoopt.config.optimizer import EvaluationSection, GenomeSection, OptimizerConfig, SearchSection
from evoopt.config.recombination import RecombinationConfig
from evoopt.config.sections import ExecutionSection, RunConfig, TrainingSection
from evoopt.config.spaces import CONFIGS, list_spaces, load_space, parse_config, spaces_folder

__all__ = [
    "CONFIGS",
    "EvaluationSection",
    "ExecutionSection",
    "GadamConfig",
    "GeneticConfig",
    "GenomeSection",
    "OptimizerConfig",
    "RecombinationConfig",
    "RunConfig",
    "SearchSection",
    "TrainingSection",
    "list_spaces",
    "load_space",
    "parse_config",
    "spaces_folder",
]
