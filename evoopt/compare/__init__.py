"""Is it really better? Tuned baselines, paired statistics, controls.

Names are imported when first used: who reads a finished comparison needs no training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evoopt.first_use import at_first_use

if TYPE_CHECKING:
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

_MODULES = {
    "Comparison": "evoopt.compare.result",
    "Discrimination": "evoopt.compare.discrimination",
    "Place": "evoopt.execution",
    "Protocol": "evoopt.compare.protocol",
    "Report": "evoopt.compare.command",
    "compare": "evoopt.compare.command",
    "describe_discriminations": "evoopt.compare.discrimination",
    "discriminate": "evoopt.compare.discrimination",
    "load_comparison": "evoopt.compare.result",
}

__getattr__ = at_first_use(__name__, _MODULES)
