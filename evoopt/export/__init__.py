"""What does one take away? A rule as an ordinary `torch.optim` class, or as the source of one."""

from __future__ import annotations

from evoopt.export.classes import from_genome, from_rule, from_run
from evoopt.export.render import render, write_export
from evoopt.export.source import FORMATS, Provenance, load_rule

__all__ = [
    "FORMATS",
    "Provenance",
    "from_genome",
    "from_rule",
    "from_run",
    "load_rule",
    "render",
    "write_export",
]
