"""Figures 3 to 6 of the GADAM paper in words: what it says about them, and what came out."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from reproductions.gadam.budget import PARTS, FiguresBudget
from reproductions.gadam.figures import Course, courses, generation_units, population_units, timing_units
from reproductions.gadam.results import ROWS, spread_of
from reproductions.units import UnitFile

_VARIANT = "gadam_paper"


def figures_text(figures: FiguresBudget, file: UnitFile) -> list[str]:
    """The section on the figures, for what has been done of them."""
    b = figures.budget
    lines = [
        "## Figures 3 to 6",
        "",
        f"{PARTS[figures.part].title}: g = {b.population}, K = {b.generations}, E = {b.steps}, "
        f"{b.seeds} seeds. Populations of {', '.join(map(str, figures.populations))} with "
        f"K = {figures.sweep_generations}. Numbers are those of {ROWS[_VARIANT]}.",
        "",
    ]
    runs = courses(generation_units(figures), file, _VARIANT)
    sweep = {n: courses(units, file, _VARIANT) for n, units in population_units(figures).items()}
    sweep = {size: own for size, own in sweep.items() if own}
    times = {n: file[unit]["seconds"] for n, unit in timing_units(figures).items() if unit in file}
    if runs:
        lines += [*_generations(runs), ""]
    if sweep:
        lines += [*_populations(sweep), ""]
    if runs:
        lines += [*_adoption(runs, sweep), ""]
    if times:
        lines += [*_times(times, figures), ""]
    return lines


def _generations(runs: Sequence[Course]) -> list[str]:
    best = np.mean([run.best for run in runs], axis=0)
    middle = (len(best) - 1) // 2
    early, late = float(best[0] - best[middle]), float(best[middle] - best[-1])
    verdict = "holds" if early > late and best[-1] < best[0] else "does not show here"
    return [
        "![generations](generations.png)",
        "",
        f"Figure 3: parents and children improve over generations, then level off: **{verdict}**. Lowest "
        f"loss of the survivors: {best[0]:.4f} after generation 1, {best[middle]:.4f} after {middle + 1}, "
        f"{best[-1]:.4f} after {len(best)}.",
    ]


def _populations(sweep: dict[int, list[Course]]) -> list[str]:
    final = {size: [float(run.best[-1]) for run in own] for size, own in sweep.items()}
    told = ", ".join(f"{size}: {spread_of(values)}" for size, values in final.items())
    lines = ["![population](population.png)", ""]
    spreads = [statistics.stdev(values) for values in final.values() if len(values) > 1]
    claim = "Figure 4: the standard deviation of the result grows with the population"
    if len(spreads) == len(final) > 2:
        rho, p = stats.spearmanr(list(final), spreads)
        verdict = "holds" if rho > 0 and p < 0.05 else "the opposite holds" if p < 0.05 else "undecided"
        claim += f": **{verdict}** (rank correlation {rho:+.2f}, p = {p:.2f})"
    return [*lines, f"{claim}. Lowest loss after the last generation by population size: {told}."]


def _adoption(runs: Sequence[Course], sweep: dict[int, list[Course]]) -> list[str]:
    table = np.stack([run.adopted for run in runs])
    half = table.shape[1] // 2
    falls = _halves(table, half)
    told = ", ".join(f"{share:.0%}" for share in table.mean(axis=0))
    lines = ["![adoption](adoption.png)", ""]
    lines.append(
        f"Figure 5: many children survive early and fewer later: **{falls}**. Children among the survivors "
        f"by generation: {told}."
    )
    if sweep:
        by_size = {size: np.mean([run.adopted.mean() for run in own]) for size, own in sweep.items()}
        lines[-1] += f" By population size: {', '.join(f'{n}: {share:.0%}' for n, share in by_size.items())}."
    return lines


def _halves(table: NDArray[np.float64], half: int) -> str:
    if half == 0:
        return "undecided, one generation"
    early, late = table[:, :half].mean(), table[:, half:].mean()
    verdict = "holds" if early > late else "does not show here"
    return f"{verdict}, {early:.0%} in the first half, {late:.0%} after"


def _times(times: dict[int, list[float]], figures: FiguresBudget) -> list[str]:
    middle = {count: statistics.median(seconds) for count, seconds in times.items()}
    told = ", ".join(f"{seconds:.1f} s with {count}" for count, seconds in middle.items())
    falls = list(middle.values()) == sorted(middle.values(), reverse=True)
    verdict = "undecided" if len(middle) < 2 else "holds" if falls else "does not show here"
    return [
        "![time](time.png)",
        "",
        f"Figure 6: a generation takes less time with more workers: **{verdict}**. {told}; "
        f"{PARTS[figures.timed_part].title}, g = {figures.timed.population}, E = {figures.timed.steps}; "
        "medians, measured on this machine and not to be compared with the published seconds.",
    ]
