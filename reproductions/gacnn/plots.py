"""Figures 12 to 16 of GACNN and two more: accuracy on a logarithmic axis of iterations, examples, seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from reproductions.figures import band, panels
from reproductions.gacnn.methods import OPTIMIZERS
from reproductions.gacnn.results import AXES, ROWS, TaskResult
from reproductions.results import Found

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "figure_12_steady_state": (
        "Figure 12: steady state, both encodings", ("steady_state", "steady_state_traditional")
    ),
    "figure_13_generational": (
        "Figure 13: generational, both encodings", ("generational", "generational_traditional")
    ),
    "figure_14_elitist": ("Figure 14: elitist, both encodings", ("elitist", "elitist_traditional")),
    "figure_15_schemes": (
        "Figure 15: the three schemes, accordion", ("steady_state", "generational", "elitist")
    ),
    "figure_16_gradients": (
        "Figure 16: elitist accordion, Adam and SGD from the fittest initial network",
        ("elitist", "adam", "sgd"),
    ),
    "matched_mutation": (
        "Both encodings at matched mutation strength, elitist",
        ("elitist_matched", "elitist_traditional_matched"),
    ),
    "robust_settings": (
        "Robust settings, and Adam after them", ("robust_adam", "robust", "robust_traditional", "adam")
    ),
}  # fmt: skip
"""Captions and rows by name of the file."""

# Okabe and Ito (2008); Adam in black.
_COLOURS = {
    "elitist": "#D55E00", "elitist_traditional": "#0072B2", "steady_state": "#009E73",
    "steady_state_traditional": "#0072B2", "generational": "#CC79A7", "generational_traditional": "#0072B2",
    "adam": "black", "sgd": "#E69F00", "elitist_matched": "#D55E00", "elitist_traditional_matched": "#0072B2",
    "robust": "#D55E00", "robust_traditional": "#0072B2", "robust_adam": "#009E73",
}  # fmt: skip
_GRID = 400


def drawn(results: Sequence[TaskResult]) -> list[str]:
    """Names of the pictures of which there is more to draw than trainings by gradients."""
    return [
        name
        for name, (_, rows) in PICTURES.items()
        if any(row in result.rows for result in results for row in rows if row not in OPTIMIZERS)
    ]


def draw(found: Found[TaskResult]) -> dict[str, Figure | None]:
    """Every picture there are results for."""
    return {name: _draw_rows(found.parts, PICTURES[name][1]) for name in drawn(found.parts)}


def _draw_rows(results: Sequence[TaskResult], rows: Sequence[str]) -> Figure:
    """Accuracy of the fittest of the population, mean and range over seeds: a line of panels per task."""
    results = [result for result in results if any(row in result.rows for row in rows)]
    figure, axes = panels(len(results), len(AXES), 3.6, 2.9, sharey="row")
    for line, result in zip(axes, results, strict=True):
        for axis, by in zip(line, AXES, strict=True):
            _panel(axis, result, [row for row in rows if row in result.rows], by)
        line[0].set(title=result.name, ylabel="accuracy on the examples")
    handles = {label: handle for handle, label in zip(*axes[0][0].get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(rows))
    return figure


def _panel(axis: Axes, result: TaskResult, rows: Sequence[str], by: str) -> None:
    from matplotlib.ticker import NullFormatter

    extents = {row: result.extent(row, by) for row in rows}
    first = min(low for low, _ in extents.values())
    for row, (_, end) in extents.items():
        grid = np.geomspace(first, max(end, first), _GRID)
        band(axis, grid, result.curves(row, by, grid), _COLOURS[row], ROWS[row])
    axis.set(xscale="log", xlabel=AXES[by])
    axis.xaxis.set_minor_formatter(NullFormatter())  # names of parts of a decade would overlap
