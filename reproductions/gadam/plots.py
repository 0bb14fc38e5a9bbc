"""Pictures of a reproduction of GADAM: figures 3 to 6, training losses, differences from rivals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evoopt.compare.plots import STYLE
from reproductions.gadam.claims import find
from reproductions.gadam.figures import (
    FIGURE_VARIANTS,
    Course,
    courses,
    generation_units,
    population_units,
    timing_units,
)
from reproductions.gadam.results import ROWS, Found

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008); GADAM in the two strongest, Adam in black.
_COLOURS = {
    "gadam": "#D55E00", "gadam_paper": "#0072B2", "adam": "black", "sgd": "#009E73", "rmsprop": "#CC79A7",
    "adagrad": "#E69F00", "adadelta": "#56B4E9", "adam_long": "#7F7F7F",
}  # fmt: skip


def save_plots(found: Found, folder: Path) -> list[Path]:
    """Draw what there are results for as PNG files into a folder; returns their paths."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    paths = []
    with mpl.rc_context(STYLE):
        for name, draw in PICTURES.items():
            figure = draw(found)
            if figure is not None:
                FigureCanvasAgg(figure)
                paths.append(folder / f"{name}.png")
                figure.savefig(paths[-1], bbox_inches="tight")
    return paths


def draw_generations(found: Found) -> Figure | None:
    """Figure 3: loss and accuracy of parents and children by generation, mean over members and seeds."""
    runs = _by_variant(found)
    if not runs:
        return None
    figure, axes = _panels(2, len(runs))
    for column, (variant, own) in enumerate(runs.items()):
        for row, kinds in enumerate((("parents", "children"), ("parents_accuracy", "children_accuracy"))):
            axis = axes[row][column]
            for kind, dashes in zip(kinds, ("-", (0, (4, 2))), strict=True):
                table = np.stack([getattr(run, kind) for run in own])
                _band(
                    axis,
                    np.arange(1, table.shape[1] + 1),
                    table,
                    _COLOURS[variant],
                    dashes,
                    kind.split("_")[0],
                )
            axis.set(xlabel="generation")
            axis.xaxis.get_major_locator().set_params(integer=True)
        axes[0][column].set(title=ROWS[variant])
    axes[0][0].set_ylabel("loss on the validation batch")
    axes[1][0].set_ylabel("accuracy on it")
    axes[0][0].legend()
    return figure


def draw_population(found: Found) -> Figure | None:
    """Figure 4: final loss of the best by population size, mean and standard deviation over seeds."""
    if found.figures is None:
        return None
    figure, ((left, right),) = _panels(1, 2)
    drawn = False
    for variant in FIGURE_VARIANTS:
        sweep = _sweep(found, variant)
        if not sweep:
            continue
        drawn = True
        sizes = list(sweep)
        final = [np.array([run.best[-1] for run in own]) for own in sweep.values()]
        spread = [float(values.std(ddof=1)) if len(values) > 1 else 0.0 for values in final]
        means = [float(values.mean()) for values in final]
        left.errorbar(
            sizes, means, spread, color=_COLOURS[variant], capsize=3, marker="o", label=ROWS[variant]
        )
        right.plot(sizes, spread, color=_COLOURS[variant], marker="o")
    left.set(xlabel="population", ylabel="lowest loss after the last generation", ylim=(0, None))
    right.set(xlabel="population", ylabel="its standard deviation over seeds", ylim=(0, None))
    for axis in (left, right):
        axis.xaxis.get_major_locator().set_params(integer=True)
    left.legend()
    return figure if drawn else None


def draw_adoption(found: Found) -> Figure | None:
    """Figure 5: share of children among the survivors, by generation and by population size."""
    runs = _by_variant(found)
    if not runs:
        return None
    figure, ((left, right),) = _panels(1, 2)
    for variant, own in runs.items():
        table = np.stack([run.adopted for run in own])
        _band(left, np.arange(1, table.shape[1] + 1), table, _COLOURS[variant], "-", ROWS[variant])
        sweep = _sweep(found, variant)
        shares = [np.mean([run.adopted.mean() for run in own]) for own in sweep.values()]
        right.plot(list(sweep), shares, color=_COLOURS[variant], marker="o")
    left.set(xlabel="generation", ylabel="children among the survivors", ylim=(0, 1))
    right.set(xlabel="population", ylim=(0, 1))
    for axis in (left, right):
        axis.xaxis.get_major_locator().set_params(integer=True)
    left.legend()
    return figure


def draw_time(found: Found) -> Figure | None:
    """Figure 6: seconds of a generation by number of workers; whiskers from the fastest to the slowest."""
    if found.figures is None:
        return None
    times = {n: found.file[u]["seconds"] for n, u in timing_units(found.figures).items() if u in found.file}
    if not times:
        return None
    figure, ((axis,),) = _panels(1, 1)
    middle = [statistics.median(own) for own in times.values()]
    whiskers = [
        [m - min(own) for m, own in zip(middle, times.values(), strict=True)],
        [max(own) - m for m, own in zip(middle, times.values(), strict=True)],
    ]
    axis.errorbar(list(times), middle, whiskers, color="black", marker="o", capsize=3)
    axis.set(xlabel="workers", ylabel="seconds of a generation", ylim=(0, None), xticks=list(times))
    return figure


def draw_training_loss(found: Found) -> Figure | None:
    """The paper's "table 2": training loss by step, of the first part that has curves; its first seed."""
    part = next((part for part in found.parts if part.curves), None)
    if part is None:
        return None
    figure, ((left, right),) = _panels(1, 2)
    for method, by_seed in part.curves.items():
        name = "adam" if method == "restarts" else method
        curve = by_seed[min(by_seed)]
        if name not in _COLOURS or not curve["steps"]:
            continue
        steps, losses = np.array(curve["steps"]), np.array(curve["losses"], np.float64)
        evolved = name.startswith("gadam")
        factor = part.budget.population if evolved else 1
        if name != "adam_long":
            left.plot(steps, losses, color=_COLOURS[name], label=ROWS[name], linewidth=1.6)
        if evolved or name in ("adam", "adam_long"):
            right.plot(factor * steps, losses, color=_COLOURS[name], linewidth=1.6, label=ROWS[name])
        for crossover in curve["crossovers"] if evolved else ():
            place = min(int(np.searchsorted(steps, crossover)), len(steps) - 1)
            left.plot(crossover, losses[place], "o", color=_COLOURS[name], markeredgecolor="white", zorder=5)
    left.set(title=part.name, xlabel="steps of the lineage", ylabel="training loss", ylim=(0, 2.5))
    right.set(title=part.name, xlabel="steps of the population", ylim=(0, 2.5))
    left.legend(fontsize=8)
    right.legend(fontsize=8)
    return figure


def draw_differences(found: Found) -> Figure | None:
    """Test accuracy of both kinds of GADAM above each rival, with 95% intervals, a panel per part."""
    rivals = [row for row in ROWS if row not in FIGURE_VARIANTS and any(row in p.rows for p in found.parts)]
    if not rivals:
        return None
    height = 0.8 + 0.34 * len(rivals)
    figure, (axes,) = _panels(1, len(found.parts), 2.2, height, beside=2.6, share_y=True)
    for axis, part in zip(axes, found.parts, strict=True):
        axis.axvline(0, color="black", linewidth=1)
        for shift, subject in zip((0.14, -0.14), FIGURE_VARIANTS, strict=True):
            for place, rival in enumerate(reversed(rivals)):
                finding = find(part, subject, rival)
                if finding is None or not math.isfinite(finding.difference.mean):
                    continue
                d, colour = finding.difference, _COLOURS[subject]
                axis.plot([100 * d.low, 100 * d.high], [place + shift] * 2, color=colour, linewidth=2)
                filled = finding.verdict in ("holds", "reversed")
                axis.plot(
                    100 * d.mean, place + shift, "o", color=colour, markersize=5,
                    markerfacecolor=colour if filled else "white",
                )  # fmt: skip
        axis.set_yticks(range(len(rivals)), [ROWS[row] for row in reversed(rivals)])
        axis.set(title=part.name, ylim=(-0.6, len(rivals) - 0.4), xlabel="points above")
        # On a plain axis a rival that has learned nothing squeezes everyone else into a line.
        axis.set_xscale("symlog", linthresh=1)
        axis.set_xticks([-30, -3, 0, 3, 30], ["-30", "-3", "0", "3", "30"])
        axis.minorticks_off()
    for variant in FIGURE_VARIANTS:
        axes[0].plot([], [], color=_COLOURS[variant], linewidth=2, label=ROWS[variant])
    figure.legend(loc="outside upper center", ncols=2)
    return figure


PICTURES: dict[str, Callable[[Found], Any]] = {
    "differences": draw_differences,
    "training_loss": draw_training_loss,
    "generations": draw_generations,
    "population": draw_population,
    "adoption": draw_adoption,
    "time": draw_time,
}
"""Every picture by the name of its file."""


def _by_variant(found: Found) -> dict[str, list[Course]]:
    if found.figures is None:
        return {}
    units = generation_units(found.figures)
    runs = {variant: courses(units, found.file, variant) for variant in FIGURE_VARIANTS}
    return {variant: own for variant, own in runs.items() if own}


def _sweep(found: Found, variant: str) -> dict[int, list[Course]]:
    if found.figures is None:
        return {}
    sweep = {n: courses(units, found.file, variant) for n, units in population_units(found.figures).items()}
    return {size: own for size, own in sweep.items() if own}


def _panels(
    rows: int,
    columns: int,
    width: float = 4.4,
    height: float = 3.2,
    beside: float = 0.4,
    share_y: bool = False,
) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width * columns + beside, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
    for axis in axes.flat:
        axis.grid(alpha=0.25, linewidth=0.5)
    return figure, axes


def _band(
    axis: Axes, x: NDArray[np.int64], table: NDArray[np.float64], colour: str, dashes: Any, label: str
) -> None:
    """Mean over rows and one standard deviation to both sides."""
    mean = table.mean(axis=0)
    axis.plot(x, mean, color=colour, linestyle=dashes, linewidth=1.7, label=label)
    if len(table) > 1:
        spread = table.std(axis=0, ddof=1)
        axis.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
