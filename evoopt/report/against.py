"""The winner against tuned baselines, from the comparison kept in the run folder."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from evoopt.compare.analysis import Analysis, Row, analyse
from evoopt.compare.result import Comparison
from evoopt.compare.speed import stride
from evoopt.compare.table import trials_in_words
from evoopt.compare.verdict import verdicts
from evoopt.errors import EvooptError, command
from evoopt.export.source import read_json
from evoopt.export.write_presets import PRESET_CLASSES
from evoopt.report.blocks import Block, Cell, Column, Section, Shown, Table, Text
from evoopt.report.common import not_measured
from evoopt.report.figures import Interval, Intervals, Lines, Panel, Series
from evoopt.runs.run import COMPARISON_FILE, Run

_TONES = {"better": "good", "worse": "bad"}


def read_comparison(run: Run) -> Comparison | None:
    """The comparison in a run's folder; None where none was made.

    Raises:
        EvooptError: A damaged one, or one of another version.
    """
    path = run.folder / COMPARISON_FILE
    if not path.is_file():
        return None
    data = read_json(path)
    # A run that could not be compared keeps only the sentence that says why.
    return Comparison.from_json(data) if isinstance(data, dict) and "scores" in data else None


def _required(run: Run) -> Comparison:
    comparison = read_comparison(run)
    if comparison is None:
        raise EvooptError(f"{run.folder} holds no comparison to draw; make one with: {_command(run)}")
    return comparison


def _command(run: Run) -> str:
    return command("compare", run.folder, "--out", run.folder)


def verdict_texts(run: Run) -> list[Text]:
    """The verdict in words; a sentence per candidate."""
    if run.uncompared:
        return [
            not_measured(
                f"The closing comparison was interrupted; go on with: {command('resume', run.folder)}"
            )
        ]
    comparison = read_comparison(run)
    if comparison is None:
        return [not_measured(run.verdict or f"Not compared with tuned Adam; to do so: {_command(run)}")]
    analysis = analyse(comparison)
    findings = {row.finding for row in analysis.rows if row.finding is not None}
    tone = _TONES.get(str(*findings), "plain") if len(findings) == 1 else "plain"
    return [Text(sentence, tone) for sentence in verdicts(comparison, analysis)]


def differences(run: Run) -> Intervals:
    """Paired differences from the reference, by task."""
    comparison = _required(run)
    return _differences(comparison, analyse(comparison))


def curves(run: Run) -> Lines:
    """Smoothed training loss of all contenders, by task."""
    return _curves(_required(run))


def against(run: Run) -> list[Section]:
    """The section; none without a comparison."""
    comparison = read_comparison(run)
    if comparison is None:
        return []
    analysis = analyse(comparison)
    protocol = comparison.protocol
    blocks: list[Block] = [
        Text(
            f"Every contender had {trials_in_words(protocol)} per task on validation data, then "
            f"{protocol['seeds']} fresh seeds of "
            f"{protocol['steps']:,} steps on test data that neither search nor tuning had seen; same initial "
            "weights and minibatches for all. Significance is that of Wilcoxon's signed-rank test, with "
            f"Holm's correction over {analysis.tests} test{'s' if analysis.tests > 1 else ''}."
        ),
        Shown("differences", "Difference on test data", _differences(comparison, analysis)),
        _results(analysis),
    ]
    blocks += [Shown("curves", "Learning curves", _curves(comparison)), _speed(analysis), _tuning(comparison)]
    blocks += [not_measured(note) for note in comparison.notes]
    candidates = [p for p in comparison.participants if p.role == "candidate"]
    unmeasured = "Not measured: other tasks, larger models, longer trainings."
    if any(p.searched_here for p in candidates):
        unmeasured += (
            " The winner was found on these very tasks, and the baselines were not: a difference here is no "
            "evidence for other work."
        )
    blocks.append(not_measured(unmeasured))
    return [
        Section(f"Against tuned {PRESET_CLASSES.get(comparison.reference, comparison.reference)}", blocks)
    ]


def _differences(comparison: Comparison, analysis: Analysis) -> Intervals:
    rows = [
        Interval(row.task, row.name, *_points(row), firm=row.finding in _TONES, text=_words(row))
        for row in analysis.rows
        if row.difference is not None
    ]
    return Intervals(
        tuple(rows),
        f"points of the test metric above tuned {comparison.reference}",
        "Mean over seeds with its 95 % bootstrap interval, seed by seed. Filled: significant.",
    )


def _points(row: Row) -> tuple[float | None, float | None, float | None]:
    assert row.difference is not None
    numbers = (row.difference.mean, row.difference.low, row.difference.high)
    mean, low, high = (100 * x if math.isfinite(x) else None for x in numbers)
    return mean, low, high


def _words(row: Row) -> str:
    mean, low, high = _points(row)
    if mean is None:
        return "diverged"
    interval = "" if low is None or high is None else f" ({low:+.2f} to {high:+.2f})"
    return f"{mean:+.2f}{interval}"


def _results(analysis: Analysis) -> Table:
    columns = (
        Column("task"), Column("optimizer"), Column("test metric", ".4f"), Column("± over seeds", ".4f"),
        Column("diverged", ".0%"), Column("difference, points"), Column("p (Holm)", ".3g"),
        Column("detectable", ".2f"),
    )  # fmt: skip
    rows: list[Sequence[Cell]] = [
        (
            row.task, row.name, row.mean, row.deviation, row.divergence_rate,
            "reference" if row.difference is None else _words(row), row.p_adjusted, 100 * row.detectable,
        )
        for row in analysis.rows
    ]  # fmt: skip
    return Table(columns, rows, "By task and optimizer")


def _speed(analysis: Analysis) -> Table:
    columns = (
        Column("task"), Column("optimizer"), Column("steps to target", ",.0f"), Column("µs per step", ",.0f"),
        Column("state, bytes per weight", ".1f"),
    )  # fmt: skip
    rows = [
        (row.task, row.name, row.steps_to_target, row.step_us, row.state_per_weight) for row in analysis.rows
    ]
    return Table(columns, rows, "Speed and memory", folded=True)


def _tuning(comparison: Comparison) -> Table:
    columns = (
        Column("task"), Column("optimizer"), Column("tuned to"), Column("validation metric", ".4f"),
        Column("trials", "d"), Column("learning rate at the edge of its grid"),
    )  # fmt: skip
    rows = [
        (task, name, tuned.setting, tuned.metric, tuned.trials, "yes" if tuned.at_edge else "no")
        for task, by_name in comparison.tuning.items()
        for name, tuned in by_name.items()
    ]
    return Table(columns, rows, "What tuning found", folded=True)


def _curves(comparison: Comparison) -> Lines:
    every = stride(int(comparison.protocol["steps"]))
    panels = []
    for task, by_name in comparison.scores.items():
        series, longest = [], 0
        for name in comparison.names:
            kept = [np.array(curve) for curve in by_name[name].curves if curve]
            if not kept:
                continue
            low, middle, high = np.percentile(np.stack(kept), [25, 50, 75], axis=0)
            longest = max(longest, len(middle))
            role = "reference" if name == comparison.reference else "plain"
            series.append(Series(name, middle.tolist(), low.tolist(), high.tolist(), role))  # type: ignore[arg-type]
        x = [float(every * (k + 1)) for k in range(longest)]
        panels.append(Panel(x, tuple(series), task, "step", "training loss", log=True))
    return Lines(tuple(panels), "Smoothed training loss: median over seeds and the middle half of them.")
