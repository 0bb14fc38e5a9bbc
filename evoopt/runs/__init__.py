"""What remains of a run? Its folder."""

from __future__ import annotations

from evoopt.runs.run import Run

__all__ = ["Run"]
