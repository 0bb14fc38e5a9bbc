"""Pictures of a reproduction of GADAM: figures 3 to 6, training losses, differences from rivals."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import numpy as np

from reproductions.figures import band, interval, name_rows, panels, whole_numbers
from reproductions.gadam.budget import SUBJECTS
from reproductions.gadam.results import KINDS, ROWS, FiguresResult, TableResult, figures, rivals_in, tables
from reproductions.results import Found, PartResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito (2008); GADAM in the two strongest, Adam in black.
_COLOURS = {
    "gadam": "#D55E00", "gadam_paper": "#0072B2", "adam": "black", "sgd": "#009E73", "rmsprop": "#CC79A7",
    "adagrad": "#E69F00", "adadelta": "#56B4E9", "adam_long": "#7F7F7F",
}  # fmt: skip


def draw(found: Found[PartResult]) -> dict[str, Figure | None]:
    """Every picture there are results for."""
    parts, drawn = tables(found), figures(found)
    pictures = {"differences": _differences(parts), "training_loss": _training_loss(parts)}
    if drawn is not None:
        pictures |= {
            "generations": _generations(drawn), "population": _population(drawn),
            "adoption": _adoption(drawn), "time": _time(drawn),
        }  # fmt: skip
    return pictures


def _generations(result: FiguresResult) -> Figure | None:
    """Figure 3: loss and accuracy of parents and children by generation, mean over members and seeds."""
    if not result.runs:
        return None
    figure, axes = panels(2, len(result.runs))
    for column, (variant, own) in zip(axes.T, result.runs.items(), strict=True):
        for axis, tables_ in zip(
            column, ([run.loss for run in own], [run.metric for run in own]), strict=True
        ):
            for kind, dashes in zip(KINDS, ("-", (0, (4, 2))), strict=True):
                rows = np.stack([table[kind] for table in tables_])
                x = np.arange(1, rows.shape[1] + 1)
                band(axis, x, rows, _COLOURS[variant], kind, dashes=dashes, deviation=True)
            axis.set(xlabel="generation")
            whole_numbers(axis)
        column[0].set(title=ROWS[variant])
    axes[0][0].set_ylabel("loss on the validation batch")
    axes[1][0].set_ylabel("accuracy on it")
    axes[0][0].legend()
    return figure


def _population(result: FiguresResult) -> Figure | None:
    """Figure 4: final loss of the best by population size, mean and standard deviation over seeds."""
    sweeps = {variant: sweep for variant, sweep in result.sweep.items() if sweep}
    if not sweeps:
        return None
    figure, ((left, right),) = panels(1, 2)
    for variant, sweep in sweeps.items():
        final = [np.array([run.best[-1] for run in own]) for own in sweep.values()]
        spread = [float(values.std(ddof=1)) if len(values) > 1 else 0.0 for values in final]
        sizes, means, colour = list(sweep), [float(values.mean()) for values in final], _COLOURS[variant]
        left.errorbar(sizes, means, spread, color=colour, capsize=3, marker="o", label=ROWS[variant])
        right.plot(sizes, spread, color=colour, marker="o")
    left.set(xlabel="population", ylabel="lowest loss after the last generation", ylim=(0, None))
    right.set(xlabel="population", ylabel="its standard deviation over seeds", ylim=(0, None))
    for axis in (left, right):
        whole_numbers(axis)
    left.legend()
    return figure


def _adoption(result: FiguresResult) -> Figure | None:
    """Figure 5: share of children among the survivors, by generation and by population size."""
    if not result.runs:
        return None
    figure, ((left, right),) = panels(1, 2)
    for variant, own in result.runs.items():
        rows, colour = np.stack([run.adopted for run in own]), _COLOURS[variant]
        band(left, np.arange(1, rows.shape[1] + 1), rows, colour, ROWS[variant], deviation=True)
        sweep = result.sweep[variant]
        shares = [np.mean([run.adopted.mean() for run in runs]) for runs in sweep.values()]
        right.plot(list(sweep), shares, color=colour, marker="o")
    left.set(xlabel="generation", ylabel="children among the survivors", ylim=(0, 1))
    right.set(xlabel="population", ylim=(0, 1))
    for axis in (left, right):
        whole_numbers(axis)
    left.legend()
    return figure


def _time(result: FiguresResult) -> Figure | None:
    """Figure 6: seconds of a generation by number of workers; whiskers from the fastest to the slowest."""
    if not result.times:
        return None
    figure, ((axis,),) = panels(1, 1)
    workers = list(result.times)
    middle = [statistics.median(own) for own in result.times.values()]
    ends = zip(middle, result.times.values(), strict=True)
    whiskers = np.array([[m - min(own), max(own) - m] for m, own in ends]).T
    axis.errorbar(workers, middle, whiskers, color="black", marker="o", capsize=3)
    axis.set(xlabel="workers", ylabel="seconds of a generation", ylim=(0, None), xticks=workers)
    return figure


def _training_loss(parts: list[TableResult]) -> Figure | None:
    """The paper's "table 2": training loss by step on MNIST, else on the first part; its first seed."""
    drawn = {part.name: part for part in parts if part.curves}
    if not drawn:
        return None
    part = drawn.get("mnist") or next(iter(drawn.values()))
    figure, ((left, right),) = panels(1, 2)
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


def _differences(parts: list[TableResult]) -> Figure | None:
    """Test accuracy of both kinds of GADAM above each rival, with 95% intervals, a panel per part."""
    rivals = rivals_in(parts)
    if not rivals:
        return None
    figure, (axes,) = panels(1, len(parts), 2.2, 0.8 + 0.34 * len(rivals), beside=2.6, sharey=True)
    for axis, part in zip(axes, parts, strict=True):
        name_rows(axis, [ROWS[row] for row in rivals])
        for shift, subject in zip((0.14, -0.14), SUBJECTS, strict=True):
            for place, rival in enumerate(reversed(rivals)):
                finding = part.find(subject, rival)
                if finding is not None:
                    interval(axis, place + shift, finding.difference, _COLOURS[subject], finding.detected)
        # On a plain axis a rival that has learned nothing squeezes everyone else into a line.
        axis.set_xscale("symlog", linthresh=1)
        axis.set_xticks([-30, -3, 0, 3, 30], ["-30", "-3", "0", "3", "30"])
        axis.minorticks_off()
        axis.set(title=part.name, xlabel="points above")
    for variant in SUBJECTS:
        axes[0].plot([], [], color=_COLOURS[variant], linewidth=2, label=ROWS[variant])
    figure.legend(loc="outside upper center", ncols=2)
    return figure
