"""What does one take away? A rule as the source of an ordinary `torch.optim` class."""

from __future__ import annotations

from evoopt.export.render import render, write_export
from evoopt.export.source import FORMATS, Provenance, load_rule

__all__ = ["FORMATS", "Provenance", "load_rule", "render", "write_export"]
