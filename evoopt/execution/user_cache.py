"""Where a user keeps what can be had again."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache(name: str) -> Path | None:
    """The user's own folder of a name in ``$XDG_CACHE_HOME``, by default ``~/.cache``.

    Returns:
        The folder, which need not exist; None for a user without a home, as happens in containers.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "evoopt" / name
    except RuntimeError:
        return None
