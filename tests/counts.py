"""How often slow tests try what they try many times: a quarter, or all where time does not matter."""

from __future__ import annotations

import os

WHOLE = "EVOOPT_THOROUGH"
"""Environment variable; set, it asks for the counts that docs/reliability.md gives."""


def times(count: int) -> int:
    """The whole count or a quarter of it."""
    return count if os.environ.get(WHOLE) else max(1, count // 4)
