"""A comparison as text for the terminal, and as rows for a spreadsheet."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evoopt.compare.analysis import Analysis, Row
from evoopt.compare.result import Comparison
from evoopt.compare.verdict import points, verdicts

_HEADER = (
    "contender", "score", "±sd", "vs {}", "95% interval", "p (Holm)", "detects", "diverged",
    "steps", "us/step",
    "B/weight",
)  # fmt: skip


def trials_in_words(protocol: Mapping[str, Any]) -> str:
    """How everybody was tuned; results from before there was a second look do not speak of one."""
    words = f"{protocol['trials']} tuning trials of {protocol['tuning_seeds']} seeds"
    if look := protocol.get("second_look"):
        words += f" (the best {look['settings']}: {look['seeds']} more)"
    return words + (" for every fresh seed" if protocol.get("tune_each_seed") else "")


def describe_comparison(comparison: Comparison, analysis: Analysis) -> str:
    """Everything ``evoopt compare`` prints."""
    protocol = comparison.protocol
    lines = [
        f"budget   {trials_in_words(protocol)} per contender and task on validation data, "
        f"{protocol['seeds']} fresh seeds on test data, {protocol['steps']} steps each"
    ]
    for task in comparison.tasks:
        lines += ["", f"{task} (test metric in points; {comparison.facts[task].test_size} test examples)"]
        lines += aligned(
            [column.format(comparison.reference) for column in _HEADER],
            [_cells(analysis.row(task, name), comparison.reference) for name in comparison.names],
        )
    lines += [
        "",
        f"overall (test error divided by tuned {comparison.reference}'s, geometric mean over tasks; "
        "below 1 is better)",
    ]
    rows = [
        [
            o.name,
            f"{o.error_ratio:.3f}",
            f"{o.low:.3f} to {o.high:.3f}" if math.isfinite(o.low) else "-",
            f"{o.profile_score:.2f}",
        ]
        for o in analysis.overall
    ]
    lines += aligned(["contender", "error ratio", "95% interval", "speed profile"], rows)
    lines += ["", "best settings"]
    lines += aligned(
        ["task", "contender", "setting"],
        [
            [task, name, tuned_to.setting]
            for task, tuned in comparison.tuning.items()
            for name, tuned_to in tuned.items()
        ],
    )
    lines += _luck_lines(comparison)
    lines += [""] * bool(comparison.notes) + [f"note     {note}" for note in comparison.notes]
    lines += ["", *(f"verdict  {sentence}" for sentence in verdicts(comparison, analysis))]
    return "\n".join(lines)


def _luck_lines(comparison: Comparison) -> list[str]:
    control = comparison.controls.get("best_of_n")
    if not control:
        return []
    header = ["task", "n", "validation: best", "mean", "test: of that one", "mean"]
    keys = ("validation_best", "validation_mean", "test_of_best", "test_mean")
    rows = [
        [task, str(luck["n"]), *(_number(100 * luck.get(key, math.nan)) for key in keys)]
        for task, luck in control["tasks"].items()
    ]
    title = f"the luckiest training of {control['contender']}, chosen on validation data (points)"
    return ["", title, *aligned(header, rows)]


def to_csv(comparison: Comparison, analysis: Analysis) -> str:
    """One line per task and contender, with everything `Row` holds."""
    fields = ["pairs", "compared", "mean", "low", "high", "spread", "p_value"]
    plain = [name for name in Row.__dataclass_fields__ if name != "difference"]
    lines: list[Sequence[object]] = [[*plain, *(f"difference_{name}" for name in fields), "setting"]]
    for row in analysis.rows:
        values = asdict(row)
        difference = values.pop("difference") or {}
        numbers = [*(values[name] for name in plain), *(difference.get(name) for name in fields)]
        lines.append([*numbers, comparison.tuning[row.task][row.name].setting])
    return _csv(lines)


def to_csv_seeds(comparison: Comparison) -> str:
    """One line per final training: task, contender, seed number and scores."""
    lines: list[Sequence[object]] = [
        ["task", "contender", "seed", "outcome", "metric", "eval_loss", "train_loss"]
    ]
    for task, by_name in comparison.scores.items():
        for name, scores in by_name.items():
            columns = zip(scores.outcomes, scores.metric, scores.eval_loss, scores.train_loss, strict=True)
            for k, (outcome, *numbers) in enumerate(columns):
                lines.append([task, name, k, outcome, *numbers])
    return _csv(lines)


def _csv(lines: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_plain(value) for value in line] for line in lines)
    return text.getvalue()


def _cells(row: Row, reference: str) -> list[str]:
    score = [row.name, _number(100 * row.mean), _number(100 * row.deviation)]
    rest = [
        f"{row.divergence_rate:.0%}",
        "never" if math.isinf(row.steps_to_target) else _number(row.steps_to_target, 0),
        _number(row.step_us, 0),
        _number(row.state_per_weight, 1),
    ]
    d = row.difference
    if d is None:
        return [*score, "reference", "", "", "", *rest]
    mark = {"better": " better", "worse": " worse"}.get(row.finding or "", "")
    interval = f"{points(d.low)} to {points(d.high)}" if math.isfinite(d.low) else "-"
    detects = "nothing" if math.isinf(row.detectable) else _number(100 * row.detectable)
    return [
        *score,
        (points(d.mean) if math.isfinite(d.mean) else "-") + mark,
        interval,
        f"{row.p_adjusted:.3f}",
        detects,
        *rest,
    ]


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A header and rows as lines of columns that are as wide as their widest cell."""
    widths = [max(len(line[k]) for line in (header, *rows)) for k in range(len(header))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (header, *rows)
    ]


def _number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _plain(value: object) -> object:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value
