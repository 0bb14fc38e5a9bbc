"""Figures as data, so that the page and ``evoopt plot`` show the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Numbers = Sequence[float | None]
"""Values in order; None where there is none."""

MOST_POINTS = 1000
"""Points of a line; of longer ones every k-th is kept, and the last."""


@dataclass(frozen=True)
class Series:
    """A line, with a band around it if ``low`` and ``high`` are given.

    Attributes:
        label: For the legend.
        y: Its values.
        low: Lower edge of the band.
        high: Upper edge.
        role: ``"reference"`` is what the others are held against: grey, dashed; ``"extra"`` is hidden until
            it is asked for; ``"points"`` are not joined.
    """

    label: str
    y: Numbers
    low: Numbers | None = None
    high: Numbers | None = None
    role: Literal["plain", "reference", "extra", "points"] = "plain"


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Attributes:
        x: Places of the values of all series.
        series: The lines.
        title: Above the axes; may be empty.
        x_label: Name of the x axis.
        y_label: Name of the y axis.
        log: Whether the y axis is logarithmic.
        percent: Whether values are shares, to be shown as percentages.
    """

    x: Sequence[float]
    series: tuple[Series, ...]
    title: str = ""
    x_label: str = "generation"
    y_label: str = ""
    log: bool = False
    percent: bool = False


@dataclass(frozen=True)
class Lines:
    """One or more panels of lines."""

    panels: tuple[Panel, ...]
    caption: str = ""


@dataclass(frozen=True)
class Interval:
    """A mean with its interval.

    Attributes:
        group: Heading that it stands under.
        label: What it is of.
        mean: The mean; None if there is none.
        low: Lower end; None if unknown.
        high: Upper end.
        firm: Whether it is significantly different from zero.
        text: The same in words.
    """

    group: str
    label: str
    mean: float | None
    low: float | None
    high: float | None
    firm: bool
    text: str


@dataclass(frozen=True)
class Intervals:
    """Means with intervals on one scale around zero."""

    rows: tuple[Interval, ...]
    unit: str
    caption: str = ""


@dataclass(frozen=True)
class HeatMap:
    """Rows of cells, not all of one length.

    Attributes:
        rows: Label and values of each row, > 0.
        unit: What a value is.
        caption: What to see.
    """

    rows: tuple[tuple[str, tuple[float, ...]], ...]
    unit: str
    caption: str = ""


@dataclass(frozen=True)
class Node:
    """An individual in a family tree.

    Attributes:
        id: Its number.
        x: Generation it was born in.
        y: Its place among those of its generation, 0 to 1.
        main: Whether it is on the main line.
        text: What to say about it.
    """

    id: int
    x: int
    y: float
    main: bool
    text: str


@dataclass(frozen=True)
class Tree:
    """A family tree.

    Attributes:
        nodes: Individuals.
        edges: Ids of parent and child, and whether the main line runs along.
        caption: What to see.
    """

    nodes: tuple[Node, ...]
    edges: tuple[tuple[int, int, bool], ...]
    caption: str = ""


Figure = Lines | Intervals | HeatMap | Tree


def thinned(panel: Panel, most: int = MOST_POINTS) -> Panel:
    """The same panel with at most about ``most`` points."""
    every = -(-len(panel.x) // most)
    if every <= 1:
        return panel
    keep = [*range(0, len(panel.x) - 1, every), len(panel.x) - 1]

    def pick(values: Numbers | None) -> Numbers | None:
        return None if values is None else [values[k] for k in keep]

    series = tuple(
        replace(s, y=[s.y[k] for k in keep], low=pick(s.low), high=pick(s.high)) for s in panel.series
    )
    return replace(panel, x=[panel.x[k] for k in keep], series=series)
