"""Pictures of a comparison: learning curves, differences, performance profiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evoopt.compare.analysis import Analysis
from evoopt.compare.result import Comparison
from evoopt.compare.speed import PROFILE_LIMIT, performance_profile, stride
from evoopt.runs.run import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008), "Color Universal Design"; black is kept for the reference.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C00", "#7F7F7F")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
STYLE: Any = {
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 11,
    "axes.titleweight": "bold", "legend.frameon": False, "figure.dpi": 150, "axes.axisbelow": True,
}  # fmt: skip


def save_figures(draw: Callable[[], Mapping[str, Figure | None]], folder: Path) -> tuple[Path, ...]:
    """Draw and write what is there as PNG files into a folder; returns their paths."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    paths = []
    with mpl.rc_context(STYLE):
        for name, figure in draw().items():
            if figure is not None:
                FigureCanvasAgg(figure)
                paths.append(folder / f"{name}.png")
                drawn = BytesIO()
                figure.savefig(drawn, format="png", bbox_inches="tight")
                write_bytes(paths[-1], drawn.getvalue())
    return tuple(paths)


def draw_curves(comparison: Comparison, analysis: Analysis) -> Figure:
    """Smoothed training loss, one panel per task: median over seeds and the middle half of them."""
    tasks = comparison.tasks
    columns = min(2, len(tasks))
    figure, axes = _figure(tasks, columns, 4.2, 3.3, comparison.names)
    every = stride(int(comparison.protocol["steps"]))
    for axis, task in zip(axes, tasks, strict=True):
        for name, colour, dashes in _styles(comparison):
            curves = [np.array(c) for c in comparison.scores[task][name].curves if c]
            if not curves:
                continue
            table = np.stack(curves)
            steps = every * np.arange(1, table.shape[1] + 1)
            low, middle, high = np.percentile(table, [25, 50, 75], axis=0)
            axis.plot(steps, middle, color=colour, linestyle=dashes, linewidth=1.7, label=name)
            alpha = 0.2 if dashes == "-" else 0.06
            axis.fill_between(steps, low, high, color=colour, alpha=alpha, linewidth=0)
        axis.set(title=task, xlabel="step", yscale="log")
        axis.grid(alpha=0.25, which="both", linewidth=0.5)
    for axis in axes[::columns]:
        axis.set_ylabel("training loss, smoothed")
    _legend(figure, axes[0], comparison)
    return figure


def draw_differences(comparison: Comparison, analysis: Analysis) -> Figure:
    """Mean paired difference from the reference with its 95% interval, per task and contender."""
    others = [name for name in comparison.names if name != comparison.reference]
    styles = {name: colour for name, colour, _ in _styles(comparison)}
    tasks = comparison.tasks
    columns, height = min(2, len(tasks)), 0.75 + 0.34 * len(others)
    figure, axes = _figure(tasks, columns, 4.0, height, others, share_y=True)
    for axis, task in zip(axes, tasks, strict=True):
        axis.axvline(0, color="black", linewidth=1)
        for y, name in enumerate(reversed(others)):
            row = analysis.row(task, name)
            d = row.difference
            if d is None or not math.isfinite(d.mean):
                axis.text(0.02, y, " diverged", transform=axis.get_yaxis_transform(), va="center", fontsize=9)
                continue
            shown = row.finding != "no detectable difference"
            axis.plot([100 * d.low, 100 * d.high], [y, y], color=styles[name], linewidth=2.2, zorder=2)
            axis.plot(
                100 * d.mean, y, "o", color=styles[name], markersize=7,
                markerfacecolor=styles[name] if shown else "white", markeredgewidth=1.8, zorder=3,
            )  # fmt: skip
        axis.set_yticks(range(len(others)), list(reversed(others)))
        axis.set_ylim(-0.6, len(others) - 0.4)
        axis.set_title(task)
        axis.grid(axis="x", alpha=0.25, linewidth=0.5)
        axis.set_xlabel(f"points above tuned {comparison.reference}")
    figure.text(
        0.0, -0.01, "Bars: 95% bootstrap interval of the paired mean. Filled: significant (Holm).",
        fontsize=8.5, color="#444444", va="top",
    )  # fmt: skip
    return figure


def draw_profile(comparison: Comparison, analysis: Analysis) -> Figure:
    """Performance profile: share of tasks and seeds solved within a factor of the fastest."""
    figure, (axis,) = _figure(["profile"], 1, 4.8, 3.6, comparison.names)
    taus = np.linspace(1.0, PROFILE_LIMIT, 601)
    profiles = performance_profile(analysis.times, taus)
    for name, colour, dashes in _styles(comparison):
        if profiles[name]:
            axis.plot(taus, profiles[name], color=colour, linestyle=dashes, linewidth=1.9, label=name)
    axis.set(
        xlim=(1, PROFILE_LIMIT), ylim=(0, 1.03),
        xlabel=f"steps to the loss that tuned {comparison.reference} reaches,\nas a multiple of the fastest",
        ylabel="share of tasks and seeds",
    )  # fmt: skip
    axis.grid(alpha=0.25, linewidth=0.5)
    _legend(figure, axis, comparison)
    return figure


PICTURES = {"curves": draw_curves, "differences": draw_differences, "profile": draw_profile}
"""Every picture by the name of its file."""


def _figure(
    panels: Sequence[str],
    columns: int,
    width: float,
    height: float,
    names: Sequence[str],
    share_y: bool = False,
) -> tuple[Figure, list[Axes]]:
    beside = 0.4 + 0.085 * max(map(len, names))  # inches that the contenders' names take beside the panels
    from matplotlib.figure import Figure as NewFigure

    rows = math.ceil(len(panels) / columns)
    figure = NewFigure(figsize=(width * columns + beside, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
    axes = list(grid.flat)
    for unused in axes[len(panels) :]:
        unused.remove()
    return figure, axes[: len(panels)]


def _legend(figure: Figure, axis: Axes, comparison: Comparison) -> None:
    handles, labels = axis.get_legend_handles_labels()
    labels = [f"{label} (reference)" if label == comparison.reference else label for label in labels]
    figure.legend(handles, labels, loc="outside right upper", handlelength=2.8)


def _styles(comparison: Comparison) -> list[tuple[str, str, Any]]:
    """Name, colour and dashes of each contender; candidates are drawn last, on top, and solid."""
    styles, k = [], 0
    for participant in comparison.participants:
        if participant.name == comparison.reference:
            styles.append((participant.name, "black", "-"))
            continue
        dashes = "-" if participant.role == "candidate" else _DASHES[1 + k % (len(_DASHES) - 1)]
        styles.append((participant.name, _COLOURS[k % len(_COLOURS)], dashes))
        k += 1
    return styles
