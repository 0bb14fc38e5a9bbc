"""What do the publications report, and what comes out here?"""

from __future__ import annotations

from evoopt.reproduce.gadam import Reproduction, reproduce_gadam

__all__ = ["Reproduction", "reproduce_gadam"]
