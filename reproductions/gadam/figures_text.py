"""Figures 3 to 6 of the GADAM paper in words: what it says about them, and what came out."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from reproductions.claims import HOLDS, OPPOSITE
from reproductions.gadam.budget import PARTS
from reproductions.gadam.results import ROWS, Course, FiguresResult
from reproductions.markdown import picture, section, spread_of

_VARIANT = "gadam_paper"
_NOT_SHOWN = "does not show here"


def figures_text(result: FiguresResult) -> list[str]:
    """The section on the figures, for what has been done of them."""
    b = result.budget
    lines = section(
        "Figures 3 to 6",
        f"{PARTS[b.part].title}: g = {b.population}, K = {b.generations}, E = {b.steps}, {b.seeds} seeds. "
        f"Populations of {', '.join(map(str, b.populations))} with K = {b.sweep_generations}. Numbers are "
        f"those of {ROWS[_VARIANT]}.",
    )
    runs, sweep = result.runs.get(_VARIANT, ()), result.sweep.get(_VARIANT, {})
    if runs:
        lines += picture("generations", _generations(runs))
    if sweep:
        lines += picture("population", _populations(sweep))
    if runs:
        lines += picture("adoption", _adoption(runs, sweep))
    if result.times:
        lines += picture("time", _times(result))
    return lines


def _generations(runs: Sequence[Course]) -> str:
    best = np.mean([run.best for run in runs], axis=0)
    middle = (len(best) - 1) // 2
    early, late = float(best[0] - best[middle]), float(best[middle] - best[-1])
    verdict = HOLDS if early > late and best[-1] < best[0] else _NOT_SHOWN
    return (
        f"Figure 3: parents and children improve over generations, then level off: **{verdict}**. Lowest "
        f"loss of the survivors: {best[0]:.4f} after generation 1, {best[middle]:.4f} after {middle + 1}, "
        f"{best[-1]:.4f} after {len(best)}."
    )


def _populations(sweep: Mapping[int, Sequence[Course]]) -> str:
    final = {size: [float(run.best[-1]) for run in own] for size, own in sweep.items()}
    told = ", ".join(f"{size}: {spread_of(values)}" for size, values in final.items())
    spreads = [statistics.stdev(values) for values in final.values() if len(values) > 1]
    claim = "Figure 4: the standard deviation of the result grows with the population"
    if len(spreads) == len(final) > 2:
        rho, p = rank_correlation(list(final), spreads)
        verdict = HOLDS if rho > 0 and p < 0.05 else OPPOSITE if p < 0.05 else "undecided"
        claim += f": **{verdict}** (rank correlation {rho:+.2f}, p = {p:.2f})"
    return f"{claim}. Lowest loss after the last generation by population size: {told}."


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Spearman's coefficient and its two-sided p: of all orders, up to seven values; above by Student's t."""
    found = stats.spearmanr(x, y)
    rho = float(found.statistic)
    if len(x) > 7:
        return rho, float(found.pvalue)
    of_y = stats.zscore(stats.rankdata(y))
    orders = np.array(list(itertools.permutations(stats.zscore(stats.rankdata(x)))))
    return rho, float(np.mean(np.abs(orders @ of_y) >= abs(orders[0] @ of_y) - 1e-9))


def _adoption(runs: Sequence[Course], sweep: Mapping[int, Sequence[Course]]) -> str:
    shares = np.stack([run.adopted for run in runs])
    half = shares.shape[1] // 2
    verdict = "undecided, one generation"
    if half:
        early, late = shares[:, :half].mean(), shares[:, half:].mean()
        verdict = HOLDS if early > late else _NOT_SHOWN
        verdict += f", {early:.0%} in the first half, {late:.0%} after"
    told = ", ".join(f"{share:.0%}" for share in shares.mean(axis=0))
    text = (
        f"Figure 5: many children survive early and fewer later: **{verdict}**. Children among the survivors "
        f"by generation: {told}."
    )
    by_size = {size: np.mean([run.adopted.mean() for run in own]) for size, own in sweep.items()}
    if by_size:
        text += f" By population size: {', '.join(f'{n}: {share:.0%}' for n, share in by_size.items())}."
    return text


def _times(result: FiguresResult) -> str:
    b, middle = result.budget, {n: statistics.median(seconds) for n, seconds in result.times.items()}
    told = ", ".join(f"{seconds:.1f} s with {count}" for count, seconds in middle.items())
    falls = list(middle.values()) == sorted(middle.values(), reverse=True)
    verdict = "undecided" if len(middle) < 2 else HOLDS if falls else _NOT_SHOWN
    return (
        f"Figure 6: a generation takes less time with more workers: **{verdict}**. {told}; "
        f"{PARTS[b.timed_part].title}, g = {b.timed.population}, E = {b.timed.steps}; medians, measured on "
        "this machine and not to be compared with the published seconds."
    )
