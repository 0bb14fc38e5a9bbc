"""Esfahanian and Akhavan (2019): figures 12 to 16 with numbers, also against examples seen and seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from evoopt.tasks import get_task, load_task_data
from reproductions.gacnn.methods import BUDGETS, METHODS, PAPER_BUDGETS, Budget
from reproductions.gacnn.plots import draw
from reproductions.gacnn.report import report
from reproductions.gacnn.results import ROWS, TaskResult
from reproductions.gacnn.units import data_options, make_unit_worker
from reproductions.publication import Publication
from reproductions.results import collect
from reproductions.units import Setup, Unit, UnitFile, units_of


def _prepare(task: str, budget: Budget, setup: Setup) -> Budget:
    load_task_data(get_task(task), data_options(budget.examples, setup.data_dir))
    return budget


def _collect(task: str, budget: Budget, units: Sequence[Unit], file: UnitFile) -> TaskResult:
    return TaskResult(task, budget, collect(units, file, ROWS))


def _extra(result: TaskResult | None) -> Mapping[str, Any]:
    """Rows without their curves, which are most of them."""
    rows = {} if result is None else result.rows
    short = {
        row: {seed: {name: v for name, v in own.items() if name != "curve"} for seed, own in by_seed.items()}
        for row, by_seed in rows.items()
    }
    return {"rows": short} if short else {}


GACNN = Publication(
    name="gacnn",
    title="Esfahanian and Akhavan (2019): GACNN repeated, with numbers",
    intro="The publication prints curves without numbers, repetitions or counts of iterations.",
    parts=tuple(BUDGETS),
    small_parts=("genetic_mnist", "genetic_digits"),
    paper_parts=("genetic_mnist", "genetic_cifar10"),
    methods=METHODS,
    budget=lambda task, paper: (PAPER_BUDGETS if paper else BUDGETS)[task],
    prepare=_prepare,
    units=units_of,
    worker=make_unit_worker,
    collect=_collect,
    report=report,
    draw=draw,
    extra=_extra,
    parts_option="tasks",
    bounds={"population": (2, math.inf), "generations": (2, math.inf)},
)
