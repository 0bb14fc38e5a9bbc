"""What a page is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from evoopt.report.figures import Figure

Cell = str | float | int | None


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: Plain text.
        tone: ``"plain"``, ``"good"``, ``"bad"``, or ``"note"`` for what was not measured.
    """

    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Facts:
    """A few figures, each with a label and perhaps a line of explanation."""

    facts: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Formulas:
    """Typeset lines.

    Attributes:
        lines: MathML.
        constants: Symbol (MathML), name and value of each constant.
    """

    lines: Sequence[Markup]
    constants: Sequence[tuple[Markup, str, str]] = ()


@dataclass(frozen=True)
class Code:
    """Source code, folded in unless it is short."""

    title: str
    source: str


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: Its heading.
        format: Format of its numbers; None for text.
    """

    heading: str
    format: str | None = None

    def show(self, value: Cell) -> str:
        """A value as text."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return "–"
        if isinstance(value, float) and math.isinf(value):
            return "∞" if value > 0 else "-∞"
        if isinstance(value, str) or self.format is None:
            return str(value)
        return format(value, self.format)


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by any column.

    Attributes:
        columns: Its columns.
        rows: Its rows.
        title: Above it; with ``folded``, what unfolds it.
        folded: Whether it is hidden at first.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Shown:
    """A figure in its place.

    Attributes:
        name: What ``evoopt plot`` calls it.
        title: Above it.
        figure: The figure.
    """

    name: str
    title: str
    figure: Figure


Block = Text | Facts | Formulas | Code | Table | Shown


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """What links to it."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.title.lower()).split())


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: The run's name.
        lead: One line on what it is and whether it is finished.
        sections: Its parts.
        footer: Who made it from what.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    footer: str
