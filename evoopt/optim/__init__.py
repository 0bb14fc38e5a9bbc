"""How does a rule move weights? Primitive terms, the update rule, its optimizer class and presets."""

from __future__ import annotations

from evoopt.optim.classes import from_genome, from_rule, from_run
from evoopt.optim.evolved import EvolvedOptimizer
from evoopt.optim.generated import SGD, Adam, AdamW, Lion, Marfinetz2025, RMSprop
from evoopt.optim.presets import PRESETS, preset
from evoopt.optim.rule import UpdateRule
from evoopt.optim.terms import TERMS, Term

__all__ = [
    "PRESETS",
    "SGD",
    "TERMS",
    "Adam",
    "AdamW",
    "EvolvedOptimizer",
    "Lion",
    "Marfinetz2025",
    "RMSprop",
    "Term",
    "UpdateRule",
    "from_genome",
    "from_rule",
    "from_run",
    "preset",
]
