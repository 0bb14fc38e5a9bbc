"""Which finalist of a search for an optimizer is meant: its winner, a cheap one, or one by its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from evoopt.errors import EvooptError, unknown_name

Preference = Literal["accuracy", "memory", "speed"]

COSTS: dict[str, str] = {"memory": "bytes_per_weight", "speed": "passes"}
"""What a preference goes by."""

Row = dict[str, Any]


def preferred(rows: Sequence[Row], prefer: str) -> Row:
    """The finalist that a preference is for.

    Args:
        rows: Finalists, the best on fresh seeds first; some say that they are on the ``front``.
        prefer: ``"accuracy"``: the first; ``"memory"`` or ``"speed"``: the cheapest on the front that gained
            over the tuned baseline, the first if none did.

    Raises:
        EvooptError: No such preference, or no costs to go by.
    """
    if prefer not in get_args(Preference):
        raise unknown_name("preference", prefer, get_args(Preference))
    if prefer == "accuracy":
        return rows[0]
    if not rows or "costs" not in rows[0]:
        raise EvooptError(
            f"nothing to prefer by {prefer}: this search did not keep a front; search with survivors = "
            '"pareto" in the space\'s [search]'
        )
    gained = [row for row in rows if row["front"] and row["final"]["score"] > 0]
    return min(gained, key=lambda row: row["costs"][COSTS[prefer]], default=rows[0])


def member(winner: Row, prefer: str | None = None, name: str | None = None) -> Row:
    """The finalist that is asked for; the winner where nothing is.

    Args:
        winner: Of a finished run.
        prefer: See `preferred`.
        name: A finalist's number, or the beginning of its rule's hash.

    Raises:
        EvooptError: Both, no such finalist or preference, or an ambiguous hash.
    """
    if prefer is not None and name is not None:
        raise EvooptError("--prefer and --member each name a finalist: leave one of them out")
    rows: list[Row] = winner.get("finalists") or [winner]
    if prefer is not None:
        return preferred(rows, prefer)
    if name is None:
        return winner
    found = [row for row in rows if str(row["id"]) == name] or [
        row for row in rows if str(row.get("key", "")).startswith(name)
    ]
    if len(found) != 1:
        known = ", ".join(f"{row['id']} ({row['key'][:8]})" for row in rows if "key" in row)
        raise EvooptError(f"{len(found) or 'no'} finalists are called {name!r}; there are {known or 'none'}")
    return found[0]
