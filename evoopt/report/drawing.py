"""Figures for papers, drawn by matplotlib."""

from __future__ import annotations

import math
import textwrap
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evoopt.errors import EvooptError
from evoopt.report.figures import Figure, HeatMap, Intervals, Lines, Numbers, Panel, Tree
from evoopt.runs.run import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

SUFFIXES = (".png", ".svg", ".pdf")
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#8C8C00", "#7A4BC2")
_GREY = "#7b838d"
_TITLE_LETTERS, _LABEL_LETTERS = 13, 12  # that fit an inch
_NO_SHARE = 1e-9
_STYLE: Any = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 9.5,
    "axes.titleweight": "bold", "legend.frameon": False, "axes.axisbelow": True, "svg.fonttype": "none",
    "svg.hashsalt": "evoopt", "text.parse_math": False,
}  # fmt: skip


def save_figure(figure: Figure, path: Path) -> None:
    """Draw a figure into a file.

    Raises:
        EvooptError: Another suffix than ``SUFFIXES``, or a file that cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise EvooptError(f"{path} is no picture: give a name that ends in {', '.join(SUFFIXES)}")
    with mpl.rc_context(_STYLE):
        canvas = _draw(figure)
        FigureCanvasAgg(canvas)
        undated: Any = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix)
        drawn = BytesIO()
        canvas.savefig(drawn, format=suffix[1:], dpi=200, bbox_inches="tight", metadata=undated)
    write_bytes(path, drawn.getvalue())


def _draw(figure: Figure) -> Canvas:
    if isinstance(figure, Lines):
        return _lines(figure)
    if isinstance(figure, Intervals):
        return _intervals(figure)
    return _heat_map(figure) if isinstance(figure, HeatMap) else _tree(figure)


def _lines(figure: Lines) -> Canvas:
    count = len(figure.panels)
    columns = 1 if count == 1 else 2 if count <= 4 else 3
    rows = math.ceil(count / columns)
    width, height = (5.2, 3.2) if count == 1 else (3.6, 2.6) if count <= 4 else (2.8, 2.0)
    canvas, grid = _canvas(width * columns, height * rows, rows, columns)
    for axis, panel in zip(grid, figure.panels, strict=False):
        _panel(axis, panel, legend=count <= 4)
    for axis in grid[count:]:
        axis.remove()
    if count > 4:
        handles, labels = grid[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside upper right", ncols=len(labels))
    return canvas


def _panel(axis: Axes, panel: Panel, legend: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    x, plain = list(panel.x), 0
    for series in panel.series:
        if series.role == "extra":
            continue
        reference = series.role == "reference"
        colour = _GREY if reference else _COLOURS[plain % len(_COLOURS)]
        plain += not reference
        points = series.role == "points"
        style: Any = (0, (4, 2)) if reference else "" if points else "-"
        axis.plot(
            x,
            _known(series.y),
            color=colour,
            linewidth=1.6,
            label=series.label,
            marker="o" if points or len(x) == 1 else None,
            linestyle=style,
        )
        if series.low is not None and series.high is not None:
            axis.fill_between(
                x, _known(series.low), _known(series.high), color=colour, alpha=0.18, linewidth=0
            )
    inches = axis.get_window_extent().width / axis.figure.dpi
    title = textwrap.fill(panel.title, max(12, round(_TITLE_LETTERS * inches)))
    axis.set(xlabel=panel.x_label, ylabel=panel.y_label, title=title)
    if all(float(value).is_integer() for value in x):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins="auto"))
    if panel.log:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(_plain_numbers())
        axis.yaxis.set_minor_formatter(_plain_numbers())
    if panel.percent:
        axis.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
        low, high = axis.get_ylim()
        axis.set_ylim(max(low, -0.02 * high), high if high > _NO_SHARE else 0.1)
    axis.grid(alpha=0.25, linewidth=0.5)
    if legend and len(panel.series) > 1:
        axis.legend(fontsize=8)


def _intervals(figure: Intervals) -> Canvas:
    groups = list(dict.fromkeys(row.group for row in figure.rows))
    labels = [row.label if len(groups) == 1 else f"{row.group}: {row.label}" for row in figure.rows]
    canvas, (axis,) = _canvas(5.2, 1.0 + 0.34 * len(figure.rows), 1, 1)
    axis.axvline(0, color="black", linewidth=1)
    for y, row in enumerate(reversed(figure.rows)):
        if row.mean is None:
            axis.text(0.02, y, row.text, transform=axis.get_yaxis_transform(), va="center")
            continue
        if row.low is not None and row.high is not None:
            axis.plot([row.low, row.high], [y, y], color=_COLOURS[0], linewidth=2)
        axis.plot(
            row.mean, y, "o", color=_COLOURS[0], markersize=6, markeredgewidth=1.6,
            markerfacecolor=_COLOURS[0] if row.firm else "white",
        )  # fmt: skip
    axis.set_yticks(range(len(labels)), labels[::-1])
    axis.set_ylim(-0.6, len(labels) - 0.4)
    axis.set_xlabel(figure.unit)
    axis.grid(axis="x", alpha=0.25, linewidth=0.5)
    return canvas


def _heat_map(figure: HeatMap) -> Canvas:
    from matplotlib.colors import LogNorm

    known = [value for _, row in figure.rows for value in row if value > 0]
    norm = LogNorm(min(known, default=1.0), max(known, default=10.0))
    canvas, grid = _canvas(6.0, 0.7 + 0.42 * len(figure.rows), len(figure.rows), 1)
    for axis, (label, row) in zip(grid, figure.rows, strict=True):
        image = axis.imshow([row], aspect="auto", norm=norm, interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
    unit = textwrap.fill(figure.unit, max(24, round(_LABEL_LETTERS * canvas.get_figheight())))
    bar = canvas.colorbar(image, ax=grid, label=unit, format=_plain_numbers())
    bar.ax.yaxis.set_minor_formatter(_plain_numbers())
    return canvas


def _tree(figure: Tree) -> Canvas:
    generations = sorted({node.x for node in figure.nodes})
    canvas, (axis,) = _canvas(max(4.0, min(16.0, 0.5 * len(generations) + 1)), 4.0, 1, 1)
    position = {node.id: (generations.index(node.x), node.y) for node in figure.nodes}
    for parent, child, main in sorted(figure.edges, key=lambda edge: edge[2]):
        (x1, y1), (x2, y2) = position[parent], position[child]
        colour, width = (_COLOURS[0], 2.0) if main else ("#c4c8ce", 0.7)
        axis.plot([x1, x2], [y1, y2], color=colour, linewidth=width, zorder=1 + main)
    for node in figure.nodes:
        colour = _COLOURS[0] if node.main else "white"
        axis.plot(*position[node.id], "o", markersize=5, color=colour, markeredgecolor=_COLOURS[0], zorder=3)
    every = -(-len(generations) // 20)
    axis.set_xticks(range(0, len(generations), every), [str(g) for g in generations[::every]])
    axis.set(yticks=[], xlabel="generation of birth")
    axis.spines["left"].set_visible(False)
    return canvas


def _plain_numbers() -> Any:
    """Numbers on a logarithmic axis: 0.01, not the TeX that names of people's tasks may not be taken for."""
    from matplotlib.ticker import LogFormatter

    class PlainNumbers(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:.4g}" if super().__call__(x, pos) else ""

    return PlainNumbers(minor_thresholds=(1.5, 0.6))


def _canvas(width: float, height: float, rows: int, columns: int) -> tuple[Canvas, list[Axes]]:
    from matplotlib.figure import Figure as NewCanvas

    canvas = NewCanvas(figsize=(width, height), layout="constrained")
    return canvas, list(canvas.subplots(rows, columns, squeeze=False).flat)


def _known(values: Numbers) -> list[float]:
    return list(np.array([math.nan if value is None else value for value in values], np.float64))
