"""A run whose models evolve as text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evoopt.runs.run import MODEL_FILE, Run

Columns = Mapping[str, tuple[str, str]]
"""Heading and format of each figure of a generation's record."""


def describe_result(run: Run, criterion: str) -> str:
    """The outcome of a finished run in a few lines."""
    return "\n".join(
        [f"run      {run.folder}", *_winner_lines(run.folder / MODEL_FILE, run.winner, criterion)]
    )


def describe_run(run: Run, criterion: str, columns: Columns) -> str:
    """State, winner, and a line per generation."""
    records = run.generations
    lines = [
        state(run),
        f"space    {run.config.name}: individuals of type {run.config.individual}, seed {run.config.seed}",
        f"task     {', '.join(run.config.tasks)}",
    ]
    if run.finished:
        lines += _winner_lines(run.folder / MODEL_FILE, run.winner, criterion)
    if not records:
        return "\n".join([*lines, "no generation is finished yet"])
    return "\n".join([*lines, "", *table(records, columns)])


def state(run: Run) -> str:
    """Where a run lies, and how to go on with it."""
    state = "finished" if run.finished else f"unfinished, go on with: evoopt resume {run.folder}"
    lines = [f"run      {run.folder} ({state})"]
    lines += [f"stopped  {run.stopped}"] if run.stopped and not run.finished else []
    return "\n".join([*lines, *(f"changed  {change}" for change in run.changes)])


def _winner_lines(path: Path, winner: Mapping[str, Any], criterion: str) -> list[str]:
    lines = []
    if "parameters" in winner:
        lines += [f"model    {path} ({winner['parameters']:,} parameters), chosen by its {criterion}"]
    for name in ("fitness", "fom"):
        if name in winner:
            lines.append(f"{criterion} {_figure(winner[name], '.6g')}")
    if "hyperparameters" in winner:
        values = winner["hyperparameters"].items()
        shown = (f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in values)
        lines.append(f"values   {', '.join(shown)}")
    if "head_start" in winner:
        head = winner["head_start"]
        lines += [f"evolved  {line}" for line in _scores(head["before"])]
        lines += [f"adam     then {head['steps']:,} minibatches"]
    lines += [f"score    {line}" for line in _scores(winner)]
    return [*lines, f"budget   {_budget(winner)}"]


def _scores(winner: Mapping[str, Any]) -> list[str]:
    parts = {name: winner[name] for name in ("validation", "test") if name in winner}
    return [
        f"{name} loss {_figure(part['loss'], '.4f')}, metric {_figure(part['metric'], '.4f')} "
        f"({part['examples']:,} examples)"
        for name, part in parts.items()
        if part["examples"]
    ]


def _budget(winner: Mapping[str, Any]) -> str:
    known = {
        "generations": "generations",
        "steps": "gradient steps",
        "evaluations": "networks evaluated",
        "forward_samples": "examples seen forward",
    }
    return ", ".join(f"{winner[name]:,} {text}" for name, text in known.items() if name in winner)


def table(records: Sequence[Mapping[str, Any]], columns: Columns, narrowest: int = 9) -> list[str]:
    """A heading, and a line per generation."""
    shown = {key: heading for key, heading in columns.items() if key in records[0]}
    widths = {key: max(narrowest, len(heading)) for key, (heading, _) in shown.items()}
    header = " ".join([" gen", *(f"{heading:>{widths[key]}}" for key, (heading, _) in shown.items())])
    rows = []
    for record in records:
        figures = (f"{_figure(record[key], form):>{widths[key]}}" for key, (_, form) in shown.items())
        rows.append(" ".join([f"{record['generation']:>4}", *figures]))
    return [header, *rows]


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
