"""A comparison in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from evoopt.compare.analysis import Analysis, Row
from evoopt.compare.result import Comparison
from evoopt.compare.statistics import ALPHA, paired_difference

_CONTROLS = {
    "random search": "its selection brought nothing that chance does not bring",
    "tuned start": "it has found constants, not a rule",
}
"""What it means not to beat the control of that name."""


def verdict(comparison: Comparison, analysis: Analysis, name: str) -> str:
    """One sentence on a contender against the tuned reference, e.g.

    ``x: better than tuned adam on digits (+0.61 points, 95% interval +0.20 to +1.02); no detectable
    difference on 3 of 4 tasks (smallest detectable: 0.40 to 0.52 points)``.
    """
    rows = [analysis.row(task, name) for task in comparison.tasks]
    if not analysis.resolvable:
        means = ", ".join(f"{_difference(row)} on {row.task}" for row in rows)
        return (
            f"{name}: too few seeds to show any difference from tuned {comparison.reference} ({means}); "
            f"{analysis.tests} tests need at least {seeds_needed(analysis.tests)} --seeds."
        )
    parts = []
    for finding in ("better", "worse"):
        of_kind = [row for row in rows if row.finding == finding]
        if of_kind:
            tasks = ", ".join(f"{row.task} ({_difference(row)})" for row in of_kind)
            parts.append(f"{finding} than tuned {comparison.reference} on {tasks}")
    same = [row for row in rows if row.finding == "no detectable difference"]
    if same:
        where = f"on {same[0].task}" if len(rows) == 1 else f"on {len(same)} of {len(rows)} tasks"
        against = "" if parts else f" from tuned {comparison.reference}"
        parts.append(f"no detectable difference{against} {where}{_resolution(same)}")
    return f"{name}: {'; '.join(parts)}{_diverged(rows)}."


def verdicts(comparison: Comparison, analysis: Analysis) -> list[str]:
    """One sentence per candidate and control, and one on a candidate that does not beat its controls."""
    sentences = [
        verdict(comparison, analysis, participant.name)
        for participant in comparison.participants
        if participant.role != "baseline"
    ]
    names = {participant.name for participant in comparison.participants}
    for participant in comparison.participants:
        for control, meaning in _CONTROLS.items():
            name, rival = participant.name, f"{control} of {participant.name}"
            if rival in names and not _beats(comparison, name, rival):
                sentences.append(f"{name} does not beat {rival}: {meaning}.")
    return sentences


def _beats(comparison: Comparison, name: str, rival: str) -> bool:
    """Whether the interval of the paired differences lies above zero on some task, and below it on none."""
    pairs = [
        paired_difference(comparison.scores[task][name].metric, comparison.scores[task][rival].metric)
        for task in comparison.tasks
    ]
    return any(pair.low > 0 for pair in pairs) and not any(pair.high < 0 for pair in pairs)


def seeds_needed(tests: int) -> int:
    """Fewest seeds with which the smallest p-value, Holm-adjusted, is below `ALPHA`."""
    return math.floor(math.log2(tests / ALPHA)) + 2


def points(value: float) -> str:
    """A difference of a metric in points, hundredths of its range, with its sign."""
    return f"{100 * value:+.2f}"


def _difference(row: Row) -> str:
    d = row.difference
    assert d is not None
    if not math.isfinite(d.mean):
        return "it diverged" if d.direction < 0 else "the reference diverged"
    interval = f", 95% interval {points(d.low)} to {points(d.high)}" if math.isfinite(d.low) else ""
    return f"{points(d.mean)} points{interval}"


def _resolution(rows: Sequence[Row]) -> str:
    finite = [row.detectable for row in rows if math.isfinite(row.detectable) and row.detectable > 0]
    if not finite:
        return ""
    low, high = 100 * min(finite), 100 * max(finite)
    span = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
    return f" (smallest detectable: {span} points)"


def _diverged(rows: Sequence[Row]) -> str:
    places = [f"{row.divergence_rate:.0%} on {row.task}" for row in rows if row.divergence_rate > 0]
    return f"; trainings that diverged: {', '.join(places)}" if places else ""
