"""When an evolution ends before its last generation: trainings or time are spent, or nothing is better."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from evoopt.config import LimitsSection

Record = dict[str, Any]

_GIVEN = {
    "max_trainings": "--max-trainings {:,}", "patience": "--patience {}", "max_time": "--max-time {:g}s"
}  # fmt: skip


def given(limit: str, value: float) -> str:
    """A limit as a run that it ended says it, by its name on the command line."""
    return f"({_GIVEN[limit].format(value)})"


class Budget:
    """Follows a run, generation by generation.

    Args:
        limits: Its limits.
        records: Statistics of the generations that an earlier attempt has finished, so that a resumed run
            ends where it would have ended; its time alone begins anew.
        trainings: How many trainings, or scorings of networks, were done after the generation of a record,
            given how many were before it.
        quality: How good the best of a record is, higher is better; None for no score.
    """

    def __init__(
        self,
        limits: LimitsSection,
        records: Iterable[Record] = (),
        trainings: Callable[[Record, int], int] = lambda record, before: before + int(record["trainings"]),
        quality: Callable[[Record], float | None] = lambda record: record["best"],
    ) -> None:
        self._limits, self._begin = limits, time.monotonic()
        self._count, self._quality = trainings, quality
        self._trainings, self._best, self._without, self._generations = 0, float("-inf"), 0, 0
        for record in records:
            self._note(record)

    def spent(self, record: Record) -> bool:
        """Whether no generation is to follow the one with these statistics."""
        self._note(record)
        return self.why is not None

    @property
    def why(self) -> str | None:
        """Why no generation is to follow, in words; None while one may."""
        limits = self._limits
        if not self._generations:
            return None
        if limits.max_trainings is not None and self._trainings >= limits.max_trainings:
            return f"{self._trainings:,} trainings are done {given('max_trainings', limits.max_trainings)}"
        if limits.patience is not None and self._without >= limits.patience:
            reached = given("patience", limits.patience)
            return f"{self._without} generations were no better than the best {reached}"
        if limits.max_seconds is not None and time.monotonic() - self._begin >= limits.max_seconds:
            return f"the time is up {given('max_time', limits.max_seconds)}"
        return None

    def _note(self, record: Record) -> None:
        if record["generation"] < self._generations:
            return  # scheme and loop may both tell of one
        best = self._quality(record)
        better = best is not None and best > self._best
        self._generations += 1
        self._trainings = self._count(record, self._trainings)
        self._without = 0 if better else self._without + 1
        self._best = best if better and best is not None else self._best


def lower_is_better(record: Record) -> float | None:
    """Quality of the best where it has a loss or a figure of merit."""
    return None if record["best"] is None else -float(record["best"])
