"""How a run is asked for: what all configurations share, and the space files they are read from."""

from __future__ import annotations

from evoopt.config.sections import (
    ExecutionSection,
    LimitsSection,
    RunConfig,
    Section,
    TrainingSection,
    WorkSection,
)
from evoopt.config.spaces import list_spaces, load_space, parse_config, resolve, spaces_folder

__all__ = [
    "ExecutionSection",
    "LimitsSection",
    "RunConfig",
    "Section",
    "TrainingSection",
    "WorkSection",
    "list_spaces",
    "load_space",
    "parse_config",
    "resolve",
    "spaces_folder",
]
