"""What the report on a search for an optimizer says of its end: front, finalists, funnel, baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from evoopt.jobs.records import FINAL_REPLICATE
from evoopt.report.blocks import Block, Cell, Column, Shown, Table, Text
from evoopt.runs.run import Run
from evoopt.systems.optimizer import optimizer_figures as draw
from evoopt.systems.optimizer.best_rule import baseline_of, front_of
from evoopt.systems.optimizer.config import config_of


def final_blocks(run: Run) -> list[Block]:
    """Everything that there is of them."""
    return [*_front(run), *_finalists(run), *_funnel(run), *_baseline(run)]


def _front(run: Run) -> list[Block]:
    rows = front_of(run)
    columns = (
        Column("individual", "d"), Column("rule"), Column("in the search", "+.2f"),
        Column("on fresh seeds", "+.2f"), Column("B/weight", ".2f"), Column("passes per step", ",.1f"),
        Column("preferred for"),
    )  # fmt: skip
    names = ("id", "formula", "search_fitness", "score", "bytes_per_weight", "passes", "preferred")
    table = Table(columns, [[row[name] for name in names] for row in rows], "The front")
    return [Shown("front", "Gain by memory and by time of a step", draw.front(run)), table] if rows else []


def _baseline(run: Run) -> list[Block]:
    columns = (Column("task"), Column("baseline"), Column("its best setting"), Column("on validation", ".4f"))
    rows = [
        (Path(task).name, one["name"], one["setting"], one["metric"])
        for task, one in baseline_of(run).items()
    ]
    return [Table(columns, rows, "The tuned baseline that gains are relative to")] if rows else []


def _finalists(run: Run) -> list[Block]:
    finalists = run.winner["finalists"] if run.finished else []
    if not finalists:
        return []
    columns = (
        Column("individual", "d"), Column("rule"), Column("in the search", ".4f"), Column("seeds", "d"),
        Column("on fresh seeds", ".4f"), Column("diverged there", ".0%"),
    )  # fmt: skip
    rows = [
        (
            one["id"], one["formula"], one["search_fitness"], one["search_replicates"],
            one["final"]["score"], one["final"]["unfinished_rate"],
        )
        for one in finalists
    ]  # fmt: skip
    by_task = (
        Column("task"),
        Column("metric on fresh seeds", ".4f"),
        Column("± over seeds", ".4f"),
        Column("ended well"),
    )
    return [
        Table(columns, rows, "Finalists, the best on fresh seeds first"),
        _gains(run.winner["gains"])
        if "gains" in run.winner
        else Table(by_task, _winner_by_task(run), "The winner by task"),
    ]


def _funnel(run: Run) -> list[Block]:
    levels = run.winner.get("funnel", []) if run.finished else []
    if not levels:
        return []
    columns = (
        Column("individual", "d"), Column("rule"),
        *(Column(f"{level['name']}: {level['steps']:,} steps", "+.2f") for level in levels), Column("kept"),
    )  # fmt: skip
    rows = [
        (
            one["id"], one["formula"],
            *(level["gains"].get(str(one["id"]), {}).get("gain") for level in levels),
            "yes" if one["id"] in levels[-1]["kept"] else "no",
        )
        for one in run.winner["finalists"]
    ]  # fmt: skip
    where = "; ".join(f"{level['name']}: {', '.join(map(_name, level['tasks']))}" for level in levels)
    text = f"Mean gain over the baseline tuned for each level; who does not gain is out. {where}."
    return [Text(text), Table(columns, rows, "The funnel")]


def _name(task: str) -> str:
    return Path(task).name


def _gains(gains: Mapping[str, float | None]) -> Table:
    columns = (Column("meta-validation task"), Column("gain, standard deviations", "+.2f"))
    rows = [(Path(task).name, gain) for task, gain in gains.items()]
    return Table(columns, rows, "The winner against the tuned baseline, at its best rate for each task")


def _winner_by_task(run: Run) -> list[Sequence[Cell]]:
    rows: list[Sequence[Cell]] = []
    for task in dict.fromkeys(config_of(run).evaluation.tasks):
        trainings = run.store.select(
            "SELECT metric FROM evaluations WHERE key = ? AND task = ? AND replicate >= ? AND repeat = 0",
            run.winner["key"], task, FINAL_REPLICATE,
        )  # fmt: skip
        good = [metric for (metric,) in trainings if metric is not None]
        mean = float(np.mean(good)) if good else None
        deviation = float(np.std(good, ddof=1)) if len(good) > 1 else None
        rows.append((Path(task).name, mean, deviation, f"{len(good)} of {len(trainings)}"))
    return rows
