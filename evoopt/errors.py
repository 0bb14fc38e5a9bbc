"""The one exception family that people see as a single line instead of a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EvooptError(Exception):
    """Something the user can mend; its message says what is wrong and what to do about it."""


class SealedTestError(EvooptError):
    """Search code tried to read the test split."""


class RunLockedError(EvooptError):
    """Another process is writing to the run folder."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> EvooptError:
    """Build the error for a misspelt name, with the nearest valid one.

    Args:
        kind: What was named, e.g. ``"task"``.
        name: What the user wrote.
        known: All valid names.

    Returns:
        An error to raise.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return EvooptError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")
