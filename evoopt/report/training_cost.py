"""What the trainings of a search cost, and why some gave no score."""

from __future__ import annotations

from pathlib import Path

from evoopt.report.blocks import Block, Column, Section, Shown, Table
from evoopt.report.common import not_measured
from evoopt.report.figures import Lines, Panel, Series
from evoopt.runs.run import Run


def cost(run: Run) -> Lines:
    """Trainings and their time by generation."""
    rows = run.store.select(
        "SELECT generation, COUNT(*), SUM(seconds) FROM evaluations GROUP BY generation ORDER BY generation"
    )
    last = len(run.generations)
    x, counts, seconds = [[row[k] for row in rows if row[0] < last] for k in range(3)]
    panels = (
        Panel(x, (Series("trainings", counts),), "trainings", y_label="trainings"),
        Panel(x, (Series("seconds", seconds),), "training time", y_label="seconds"),
    )
    return Lines(panels, "Time is that of the trainings, summed over workers.")


def cost_section(run: Run) -> Section:
    """Trainings, outcomes and time, by task and by generation."""
    by_task = run.store.select(
        "SELECT task, engine, COUNT(*), SUM(outcome = 'ok'), SUM(outcome = 'diverged'), "
        "SUM(outcome = 'stopped'), SUM(outcome = 'failed'), SUM(steps), SUM(seconds), "
        "1e6 * SUM(seconds) / MAX(1, SUM(steps)) FROM evaluations GROUP BY task, engine"
    )
    columns = (
        Column("task"), Column("engine"), Column("trainings", ",d"), Column("ok", ",d"),
        Column("diverged", ",d"), Column("stopped", ",d"), Column("failed", ",d"), Column("steps", ",d"),
        Column("seconds", ",.1f"), Column("µs per step", ",.0f"),
    )  # fmt: skip
    blocks: list[Block] = [Table(columns, [(Path(row[0]).name, *row[1:]) for row in by_task], "By task")]
    reasons = run.store.select(
        "SELECT outcome, reason, COUNT(*) FROM evaluations WHERE outcome != 'ok' GROUP BY outcome, reason "
        "ORDER BY COUNT(*) DESC LIMIT 20"
    )
    if reasons:
        head = (Column("outcome"), Column("reason"), Column("trainings", ",d"))
        blocks.append(Table(head, reasons, "Why trainings gave no score"))
    blocks.append(Shown("cost", "By generation", cost(run)))
    blocks.append(not_measured("The cost of tuning and comparing with baselines is not in these figures."))
    return Section("Cost", blocks)
