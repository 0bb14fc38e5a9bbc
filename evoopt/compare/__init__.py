"""Is it really better? Tuned baselines, paired statistics, controls."""

from __future__ import annotations

from evoopt.compare.command import Report, compare
from evoopt.compare.discrimination import Discrimination, describe_discriminations, discriminate
from evoopt.compare.protocol import Protocol
from evoopt.compare.result import Comparison, load_comparison
from evoopt.execution import Place

__all__ = [
    "Comparison",
    "Discrimination",
    "Place",
    "Protocol",
    "Report",
    "compare",
    "describe_discriminations",
    "discriminate",
    "load_comparison",
]
