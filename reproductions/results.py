"""What finished units say, by part, row and seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from reproductions.units import Unit, UnitFile

Rows = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""Scores by row of a table, then by seed."""


@dataclass(frozen=True)
class PartResult:
    """Everything finished of one part.

    Attributes:
        name: Part.
        budget: What each method could spend.
        rows: Scores by row and seed.
    """

    name: str
    budget: Any
    rows: Rows

    def column(self, row: str, key: str) -> dict[int, float]:
        """One number of a row by seed; NaN where there is none, as for a training that diverged."""
        own = self.rows.get(row, {}).items()
        return {seed: math.nan if (v := scores.get(key)) is None else v for seed, scores in own}


Result = TypeVar("Result", bound=PartResult)


@dataclass(frozen=True)
class Found(Generic[Result]):
    """A whole reproduction.

    Attributes:
        command: What repeats it.
        parts: Results by part, in order.
        notes: What is missing, and why.
        paper: Whether the budget is the published one.
    """

    command: str
    parts: tuple[Result, ...]
    notes: tuple[str, ...]
    paper: bool = False


def collect(units: Sequence[Unit], file: UnitFile, order: Iterable[str]) -> Rows:
    """Rows of finished units: those in a unit's ``"rows"``, or the whole result as its method's row."""
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for unit in units:
        if unit in file:
            for row, scores in file[unit].get("rows", {unit.method: file[unit]}).items():
                found.setdefault(row, {})[unit.seed] = scores
    return {row: found[row] for row in order if row in found}


def numbers(values: Iterable[float | None]) -> list[float]:
    """Numbers as they were before JSON, which has no NaN."""
    return [math.nan if value is None else value for value in values]
