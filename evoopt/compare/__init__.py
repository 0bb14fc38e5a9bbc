"""Is it really better? Tuned baselines, paired statistics, controls."""

from __future__ import annotations

from evoopt.compare.command import Report, compare
from evoopt.compare.comparison import Place
from evoopt.compare.protocol import Protocol
from evoopt.compare.result import Comparison, load_comparison
from evoopt.compare.short import ShortComparison, short_comparison

__all__ = [
    "Comparison",
    "Place",
    "Protocol",
    "Report",
    "ShortComparison",
    "compare",
    "load_comparison",
    "short_comparison",
]
