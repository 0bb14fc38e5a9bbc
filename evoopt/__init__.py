"""evoopt: discover deep-learning optimizers by evolution.

`search`, `resume` and `open_run` do what the commands of the same names do. They are imported when first
used, so that ``import evoopt`` stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evoopt.errors import EvooptError

if TYPE_CHECKING:
    from evoopt.api import open_run, resume, search

__version__ = "0.1.0"
__all__ = ["EvooptError", "__version__", "open_run", "resume", "search"]


def __getattr__(name: str) -> Any:
    if name in ("open_run", "resume", "search"):
        from evoopt import api

        return getattr(api, name)
    raise AttributeError(f"module 'evoopt' has no attribute {name!r}")
