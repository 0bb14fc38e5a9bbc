"""What all figures share: panels, curves in their band, differences with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evoopt.compare.statistics import PairedDifference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def panels(
    rows: int, columns: int, width: float = 4.4, height: float = 3.3, beside: float = 0.4, **shared: Any
) -> tuple[Figure, Any]:
    """A figure, and its axes ``[rows, columns]``; sizes of a panel in inches."""
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width * columns + beside, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **shared)
    for axis in axes.flat:
        axis.grid(alpha=0.25, linewidth=0.5)
    return figure, axes


def band(
    axis: Axes, x: ArrayLike, rows: NDArray[np.float64], colour: str, label: str = "", *, dashes: Any = "-",
    deviation: bool = False, geometric: bool = False,
) -> None:  # fmt: skip
    """Mean over finite rows between the smallest and the largest, or one standard deviation to both sides."""
    rows = rows[np.isfinite(rows).all(axis=1)]
    if not len(rows):
        return
    mean = np.exp(np.log(rows).mean(axis=0)) if geometric else rows.mean(axis=0)
    axis.plot(x, mean, color=colour, linestyle=dashes, linewidth=1.7, label=label)
    if len(rows) > 1:
        spread = rows.std(axis=0, ddof=1)
        low, high = (mean - spread, mean + spread) if deviation else (rows.min(axis=0), rows.max(axis=0))
        axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def interval(axis: Axes, place: float, difference: PairedDifference, colour: str, filled: bool) -> None:
    """A difference with its interval at a height, in hundredths; filled where it is detected."""
    d = difference
    if math.isfinite(d.mean):
        axis.plot([100 * d.low, 100 * d.high], [place, place], color=colour, linewidth=2)
        face = colour if filled else "white"
        axis.plot(100 * d.mean, place, "o", color=colour, markersize=5, markerfacecolor=face)


def name_rows(axis: Axes, names: Sequence[str]) -> None:
    """Names down the vertical axis, the first on top, and a line at zero."""
    axis.axvline(0, color="black", linewidth=1)
    axis.set_yticks(range(len(names)), list(reversed(names)))
    axis.set_ylim(-0.6, len(names) - 0.4)


def whole_numbers(axis: Axes) -> None:
    """Integers only along the horizontal axis."""
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
