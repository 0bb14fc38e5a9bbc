"""evoopt: discover deep-learning optimizers by evolution."""

from __future__ import annotations

__version__ = "0.1.0"
