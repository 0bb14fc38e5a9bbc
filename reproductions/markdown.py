"""Pieces of reports in Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table, a line each for header, rule and rows."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return [lines[0], f"|{'---|' * len(header)}", *lines[1:]]


def section(title: str, *lines: str, level: int = 2) -> list[str]:
    """A heading and what stands below it."""
    return [f"{'#' * level} {title}", "", *lines, ""]


def picture(name: str, caption: str = "") -> list[str]:
    """A picture of the folder, and what it shows."""
    return [f"![{name.replace('_', ' ')}]({name}.png)", "", *([caption, ""] if caption else [])]


def spread_of(values: Iterable[float], factor: float = 1, digits: int = 4) -> str:
    """Mean ± standard deviation of numbers times a factor; NaN counts as diverged."""
    values = list(values)
    good = [factor * value for value in values if math.isfinite(value)]
    if not good:
        return "diverged"
    spread = f" ± {statistics.stdev(good):.{digits}f}" if len(good) > 1 else ""
    lost = f", {len(values) - len(good)} diverged" if len(good) < len(values) else ""
    return f"{statistics.fmean(good):.{digits}f}{spread}{lost}"
