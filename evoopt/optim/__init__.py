"""How does a rule move weights? Primitive terms, the update rule, its optimizer class and presets."""

from __future__ import annotations

from evoopt.optim.evolved import EvolvedOptimizer
from evoopt.optim.presets import PRESETS, preset
from evoopt.optim.rule import UpdateRule
from evoopt.optim.terms import TERMS, Term

__all__ = ["PRESETS", "TERMS", "EvolvedOptimizer", "Term", "UpdateRule", "preset"]
