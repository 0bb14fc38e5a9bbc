"""Pictures of a reproduction of recombination: schedules and results, searches, differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evoopt.compare.plots import STYLE
from reproductions.three_parent.budget import PARTS
from reproductions.three_parent.results import NAMES, SUBJECTS, Found, PartResult, compare

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008); the defaults in black.
_COLOURS = {
    "default": "black", "random": "#7F7F7F", "truncation": "#D55E00", "three_parent_paper": "#0072B2",
    "three_parent": "#009E73",
}  # fmt: skip
DIFFERENCES, SEARCHES = "differences", "searches"


def schedule_picture(part: str) -> str:
    """Name of the picture of a part's schedules."""
    return f"schedules_{part}"


def save_plots(found: Found, folder: Path) -> list[Path]:
    """Draw what there are results for as PNG files into a folder; returns their paths."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if not found.parts:
        return []
    paths = []
    with mpl.rc_context(STYLE):
        figures = {DIFFERENCES: draw_differences(found), SEARCHES: draw_searches(found)}
        for part in found.parts:
            drawn = draw_schedules(part)
            if drawn is not None:
                figures[schedule_picture(part.name)] = drawn
        for name, figure in figures.items():
            FigureCanvasAgg(figure)
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1], bbox_inches="tight")
    return paths


def draw_schedules(part: PartResult) -> Figure | None:
    """Figures 9, 11 and 13: result and hyperparameters by generation, evolved and default, a row per kind.

    Means over trainings on fresh seeds, or over searches, with their smallest and largest values; a training
    that has ended counts with its last value.
    """
    subjects = [method for method in SUBJECTS if part.schedules(method)]
    if not subjects:
        return None
    space = PARTS[part.name].config.loci()
    names, length = space.names, part.budget.generations
    figure, axes = _panels(len(subjects), 1 + len(names), 3.4, 2.9)
    for row, subject in zip(axes, subjects, strict=True):
        for method in ("default", subject):
            curves = part.curves(method)
            if curves:
                _envelope(row[0], _lengthened(curves, length), _COLOURS[method], NAMES[method])
        row[0].set(ylabel=f"validation {part.measure}", yscale="log", title=NAMES[subject])
        row[0].legend(fontsize=8)
        for axis, locus in zip(row[1:], space.loci, strict=True):
            schedules = part.schedules(subject).values()
            values = [np.array([float(own[locus.name]) for own in s.values]) for s in schedules]
            logarithmic = bool(getattr(locus, "log", False))
            _envelope(axis, _lengthened(values, length), _COLOURS[subject], "", logarithmic)
            axis.axhline(float(locus.default), color=_COLOURS["default"], linewidth=1.2)
            axis.set(ylabel=locus.name, yscale="log" if logarithmic else "linear")
    for axis in axes.flat:
        _plain_numbers(axis)
    for axis in axes[-1]:
        axis.set_xlabel(f"generation ({part.budget.steps} steps each)")
    return figure


def draw_searches(found: Found) -> Figure:
    """Best figure of merit so far, on validation data, by generation; all but the defaults cost the same."""
    figure, (axes,) = _panels(1, len(found.parts))
    for axis, part in zip(axes, found.parts, strict=True):
        for method, by_seed in part.found.items():
            curves = [_best_so_far(result["by_generation"]) for result in by_seed.values()]
            table = _lengthened(curves, part.budget.generations)
            _envelope(axis, table, _COLOURS[method], NAMES[method], logarithmic=True)
        fom = PARTS[part.name].config.recombination.fom
        axis.set(title=part.name, xlabel="generation", ylabel=f"best {fom} so far (validation)", yscale="log")
        _plain_numbers(axis)
    axes[0].legend(fontsize=8)
    return figure


def draw_differences(found: Found) -> Figure:
    """By how many percent results on fresh seeds are lower than the defaults', with 95 % intervals."""
    figure, (axes,) = _panels(1, len(found.parts), 3.6, 2.4, share_y=True)
    methods = [m for m in NAMES if m != "default" and any(m in part.found for part in found.parts)]
    for axis, part in zip(axes, found.parts, strict=True):
        axis.axvline(0, color="black", linewidth=1)
        for place, method in enumerate(reversed(methods)):
            finding = compare(part, method, "default")
            if finding is None or not math.isfinite(finding.relative.mean):
                continue
            d, colour = finding.relative, _COLOURS[method]
            axis.plot([100 * d.low, 100 * d.high], [place] * 2, color=colour, linewidth=2)
            axis.plot(100 * d.mean, place, "o", color=colour, markersize=6)
        axis.set_yticks(range(len(methods)), [NAMES[method] for method in reversed(methods)])
        axis.set(title=part.name, xlabel=f"test {part.measure}, % below the defaults'")
        axis.set_ylim(-0.6, len(methods) - 0.4)
    return figure


def _plain_numbers(axis: Axes) -> None:
    """Ticks such as 0.002 on a logarithmic axis, and whole generations below."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axis.get_yscale() == "log":
        low, high = axis.get_ylim()
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 10 * low else MaxNLocator(4))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())


def _best_so_far(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.fmin.accumulate(np.array([math.nan if v is None else v for v in values], np.float64))


def _lengthened(curves: Sequence[NDArray[np.float64]], length: int) -> NDArray[np.float64]:
    """Curves as rows of equal length, the shorter ones continued by their last values."""
    return np.stack([np.pad(curve, (0, length - len(curve)), mode="edge") for curve in curves])


def _envelope(
    axis: Axes, table: NDArray[np.float64], colour: str, label: str, logarithmic: bool = False
) -> None:
    """Mean over rows, on a logarithmic axis the geometric one, between the smallest and the largest."""
    table = table[np.isfinite(table).all(axis=1)]
    if not len(table):
        return
    x = np.arange(1, table.shape[1] + 1)
    mean = np.exp(np.log(table).mean(axis=0)) if logarithmic else table.mean(axis=0)
    axis.plot(x, mean, color=colour, linewidth=1.8, label=label)
    axis.fill_between(x, table.min(axis=0), table.max(axis=0), color=colour, alpha=0.15, linewidth=0)


def _panels(
    rows: int, columns: int, width: float = 4.4, height: float = 3.4, share_y: bool = False
) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width * columns + 0.4, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
    for axis in axes.flat:
        axis.grid(alpha=0.25, linewidth=0.5)
    return figure, axes
