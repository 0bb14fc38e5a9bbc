"""Parts of the report that all individual types have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from evoopt.report.blocks import Block, Cell, Column, Section, Shown, Table, Text
from evoopt.report.figures import Figure, Lines
from evoopt.runs.run import Run

Record = Mapping[str, Any]
Draw = Callable[[Run], Figure]

MOST_ROWS = 500


@dataclass(frozen=True)
class Figured:
    """A column of the table of generations, and a part of the line that ``evoopt watch`` prints.

    Attributes:
        label: What it is.
        key: Where the records have it; dots lead into inner tables.
        format: Format of the number.
        absent: Value where a record has none.
    """

    label: str
    key: str
    format: str
    absent: float | None = None

    def of(self, record: Record) -> Cell:
        """Its value in a generation's record."""
        value: Any = record
        for part in self.key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return self.absent if value is None else value


class Sections(Protocol):
    """What the module of an individual type offers the report."""

    GENERATION: Sequence[Figured]
    """What to say about a generation."""

    def figures(self, run: Run) -> Mapping[str, Draw]:
        """The figures that a run can have, by the name that ``evoopt plot`` knows them by."""

    def sections(self, run: Run) -> list[Section]:
        """The parts of the page, of a run with at least one finished generation."""


def planned_generations(run: Run) -> int:
    """Generations that the run's configuration asks for."""
    return int(run.config.option("generations"))


def generations_table(records: Sequence[Record], columns: Sequence[Figured]) -> Table:
    """A line per generation, folded in; of very many, every k-th and the last."""
    every = -(-len(records) // MOST_ROWS)
    kept = [r for k, r in enumerate(records) if k % every == 0 or k == len(records) - 1]
    title = "All generations" if every == 1 else f"{len(records):,} generations, one in {every} and the last"
    return Table(
        (Column("generation", "d"), *(Column(column.label, column.format) for column in columns)),
        [(r["generation"], *(column.of(r) for column in columns)) for r in kept],
        title,
        folded=True,
    )


def values(records: Sequence[Record], key: str) -> list[float | None]:
    """A number of every generation."""
    return [record.get(key) for record in records]


def quartiles(rows: Sequence[Sequence[float | None]]) -> tuple[list[float | None], ...]:
    """25th percentile, median and 75th of each row's known values."""
    edges: list[list[float | None]] = [[], [], []]
    for row in rows:
        known = [value for value in row if value is not None and math.isfinite(value)]
        for q, out in zip((25, 50, 75), edges, strict=True):
            out.append(float(np.percentile(known, q)) if known else None)
    return tuple(edges)


def values_x(records: Sequence[Record]) -> list[float]:
    """Numbers of the generations."""
    return [float(record["generation"]) for record in records]


def unless_zero(name: str, title: str, figure: Lines, otherwise: str) -> Block:
    """A figure, or a sentence if all its lines run along zero."""
    flat = all(not any(series.y) for panel in figure.panels for series in panel.series)
    return Text(otherwise) if flat else Shown(name, title, figure)


def wilson(share: float, count: int) -> tuple[float, float]:
    """95% interval of a share of ``count`` independent cases (Wilson 1927)."""
    z = 1.959963984540054
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    return max(0.0, centre - half), min(1.0, centre + half)


def not_measured(text: str) -> Text:
    """A sentence on what the run does not say."""
    return Text(text, "note")
