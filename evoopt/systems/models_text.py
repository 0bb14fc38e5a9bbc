"""A run whose models evolve as text for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evoopt.errors import command
from evoopt.runs.run import MODEL_FILE, Run
from evoopt.tasks.catalogue import metric_of

Criterion = Callable[[Run], str]
"""What a run's winner was chosen by, in words."""

Columns = Mapping[str, tuple[str, str]]
"""Heading and format of each figure of a generation's record."""


def describe_result(run: Run, criterion: Criterion) -> str:
    """The outcome of a finished run in a few lines."""
    return "\n".join([f"run      {run.folder}", *ended(run), *_winner_lines(run, criterion(run))])


def describe_run(run: Run, criterion: Criterion, columns: Columns) -> str:
    """State, winner, and a line per generation."""
    records = run.generations
    lines = [
        state(run),
        f"space    {run.config.name}: individuals of type {run.config.individual}, seed {run.config.seed}",
        f"task     {', '.join(run.config.tasks)}, scored by {metric_of(run.config.tasks[0])}",
    ]
    if run.finished:
        lines += _winner_lines(run, criterion(run))
    if not records:
        return "\n".join([*lines, "no generation is finished yet"])
    return "\n".join([*lines, "", *table(records, columns)])


def state(run: Run) -> str:
    """Where a run lies, and how to go on with it."""
    state = "finished" if run.finished else f"unfinished, go on with: {command('resume', run.folder)}"
    if run.uncompared:
        state = f"finished but for its closing comparison, go on with: {command('resume', run.folder)}"
    lines = [f"run      {run.folder} ({state})"]
    lines += ended(run)
    lines += [f"stopped  {run.stopped}"] if run.stopped and not run.finished else []
    return "\n".join([*lines, *(f"changed  {change}" for change in run.changes)])


def ended(run: Run) -> list[str]:
    """Why a run ended before its last generation, if it did."""
    done = len(run.generations)
    return [] if run.ended is None else [f"ended    after {done} generation{'s' * (done > 1)}: {run.ended}"]


def _winner_lines(run: Run, criterion: str) -> list[str]:
    winner, path, lines = run.winner, run.folder / MODEL_FILE, []
    metric = metric_of(run.config.tasks[0])
    if "parameters" in winner:
        lost = f", gone or cut off, anew by: {command('resume', run.folder)}" if run.lost_model else ""
        lines += [f"model    {path} ({winner['parameters']:,} parameters{lost})"]
    for name in ("fitness", "fom", "loss"):
        if name in winner:
            lines.append(f"chosen   {_figure(winner[name], '.6g')}: {criterion}")
    if "hyperparameters" in winner:
        values = winner["hyperparameters"].items()
        shown = (f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in values)
        lines.append(f"values   {', '.join(shown)}")
    if "head_start" in winner:
        head = winner["head_start"]
        lines += [f"evolved  {line}" for line in _scores(head["before"], metric)]
        lines += [f"adam     then {head['steps']:,} minibatches"]
    lines += [f"score    {line}" for line in _scores(winner, metric)]
    of_mean = _scores(winner.get("average", {}), metric)
    lines += [f"average  {line}, of the mean of all models' weights" for line in of_mean]
    return [*lines, f"budget   {_budget(winner)}"]


def _scores(winner: Mapping[str, Any], metric: str) -> list[str]:
    parts = {name: winner[name] for name in ("validation", "test") if name in winner}
    return [
        f"{name} loss {_figure(part['loss'], '.4f')}, {metric} {_figure(part['metric'], '.4f')} "
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
