"""How much tests try of what there is to try: a part, or all where time does not matter."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

WHOLE = "EVOOPT_THOROUGH"
"""Environment variable; set, it asks for the counts that docs/reliability.md gives."""


def times(count: int) -> int:
    """The whole count or a sixteenth of it."""
    return count if os.environ.get(WHOLE) else max(1, count // 16)


def some(items: Mapping[str, T], *names: str) -> dict[str, T]:
    """All items or those of these names."""
    return dict(items) if os.environ.get(WHOLE) else {name: items[name] for name in names}
