"""When a search ends before its last generation: its trainings or time are spent, or nothing is better."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from evoopt.evolution.stages import time_limit
from evoopt.systems.optimizer.config import SearchSection


class Budget:
    """Follows a search, generation by generation.

    Args:
        search: Its limits.
        records: Statistics of the generations that an earlier attempt has finished, so that a resumed run
            ends where it would have ended; its time alone begins anew.
    """

    def __init__(self, search: SearchSection, records: Iterable[dict[str, Any]] = ()) -> None:
        self._search, self._late = search, time_limit(search.max_seconds)
        self._trainings, self._best, self._without = 0, float("-inf"), 0
        for record in records:
            self._note(record)

    def spent(self, record: dict[str, Any]) -> bool:
        """Whether no generation is to follow the one with these statistics."""
        self._note(record)
        search = self._search
        return (
            (search.max_trainings is not None and self._trainings >= search.max_trainings)
            or (search.patience is not None and self._without >= search.patience)
            or self._late(record)
        )

    def _note(self, record: dict[str, Any]) -> None:
        # What was not selected on says whether there is progress, where there is such.
        best = record["meta"] if record.get("meta") is not None else record["best"]
        self._trainings += record["trainings"]
        self._without = 0 if best > self._best else self._without + 1
        self._best = max(self._best, best)
