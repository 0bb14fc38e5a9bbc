"""Pictures of a reproduction of Vose et al.: schedules and results, searches, differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reproductions.figures import band, interval, name_rows, panels, whole_numbers
from reproductions.results import Found, numbers
from reproductions.three_parent.budget import PARTS
from reproductions.three_parent.results import NAMES, SUBJECTS, SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008); the defaults in black.
_COLOURS = {
    "default": "black", "stepwise": "#E69F00", "random": "#7F7F7F", "truncation": "#D55E00",
    "three_parent_paper": "#0072B2", "three_parent": "#009E73",
}  # fmt: skip


def draw(found: Found[SearchResult]) -> dict[str, Figure | None]:
    """Every picture there are results for."""
    if not found.parts:
        return {}
    schedules = {f"schedules_{part.name}": _schedules(part) for part in found.parts}
    return {"differences": _differences(found.parts), "searches": _searches(found.parts), **schedules}


def _schedules(part: SearchResult) -> Figure | None:
    """Figures 9, 11 and 13: result and hyperparameters by generation, evolved and default, a row per kind.

    Means over trainings on fresh seeds, or over searches, with their smallest and largest values; a training
    that has ended counts with its last value.
    """
    subjects = [method for method in SUBJECTS if part.schedules(method)]
    if not subjects:
        return None
    space = PARTS[part.name].config.loci()
    length = part.budget.generations
    x = np.arange(1, length + 1)
    figure, axes = panels(len(subjects), 1 + len(space.names), 3.4, 2.9)
    for row, subject in zip(axes, subjects, strict=True):
        for method in ("default", subject):
            curves = part.curves(method)
            if curves:
                band(row[0], x, _lengthened(curves, length), _COLOURS[method], NAMES[method])
        row[0].set(ylabel=f"validation {part.measure}", yscale="log", title=NAMES[subject])
        row[0].legend(fontsize=8)
        for axis, locus in zip(row[1:], space.loci, strict=True):
            schedules = part.schedules(subject).values()
            values = [np.array([float(own[locus.name]) for own in s.values]) for s in schedules]
            logarithmic = bool(getattr(locus, "log", False))
            band(axis, x, _lengthened(values, length), _COLOURS[subject], geometric=logarithmic)
            axis.axhline(float(locus.default), color=_COLOURS["default"], linewidth=1.2)
            axis.set(ylabel=locus.name, yscale="log" if logarithmic else "linear")
    for axis in axes.flat:
        _plain_numbers(axis)
    for axis in axes[-1]:
        axis.set_xlabel(f"generation ({part.budget.steps} steps each)")
    return figure


def _searches(parts: Sequence[SearchResult]) -> Figure:
    """Best figure of merit so far, on validation data, by generation; all but the defaults cost the same."""
    figure, (axes,) = panels(1, len(parts))
    for axis, part in zip(axes, parts, strict=True):
        length = part.budget.generations
        for method, by_seed in part.rows.items():
            curves = [np.fmin.accumulate(numbers(own["by_generation"])) for own in by_seed.values()]
            x, rows = np.arange(1, length + 1), _lengthened(curves, length)
            band(axis, x, rows, _COLOURS[method], NAMES[method], geometric=True)
        fom = PARTS[part.name].config.recombination.fom
        axis.set(title=part.name, xlabel="generation", ylabel=f"best {fom} so far (validation)", yscale="log")
        _plain_numbers(axis)
    axes[0].legend(fontsize=8)
    return figure


def _differences(parts: Sequence[SearchResult]) -> Figure:
    """By how many percent results on fresh seeds are lower than the defaults', with 95 % intervals."""
    figure, (axes,) = panels(1, len(parts), 3.6, 2.4, sharey=True)
    methods = [m for m in NAMES if m != "default" and any(m in part.rows for part in parts)]
    for axis, part in zip(axes, parts, strict=True):
        name_rows(axis, [NAMES[method] for method in methods])
        for place, method in enumerate(reversed(methods)):
            finding = part.share_lower(method)
            if finding is not None:
                interval(axis, place, finding.difference, _COLOURS[method], finding.detected)
        axis.set(title=part.name, xlabel=f"test {part.measure}, % below the defaults'")
    return figure


def _plain_numbers(axis: Axes) -> None:
    """Ticks such as 0.002 on a logarithmic axis, and whole generations below."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    whole_numbers(axis)
    if axis.get_yscale() == "log":
        low, high = axis.get_ylim()
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 10 * low else MaxNLocator(4))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())


def _lengthened(curves: Sequence[NDArray[np.float64]], length: int) -> NDArray[np.float64]:
    """Curves as rows of equal length, the shorter ones continued by their last values."""
    return np.stack([np.pad(curve, (0, length - len(curve)), mode="edge") for curve in curves])
