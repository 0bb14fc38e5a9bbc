"""Is it really better? Tuned baselines, paired statistics, controls."""

from __future__ import annotations

from evoopt.compare.command import Report, compare
from evoopt.compare.protocol import Protocol
from evoopt.compare.result import Comparison, load_comparison
from evoopt.execution import Place

__all__ = [
    "Comparison",
    "Place",
    "Protocol",
    "Report",
    "compare",
    "load_comparison",
]
