"""Esfahanian and Akhavan (2019): figures 12 to 16 with numbers, also against examples seen and seconds."""

from __future__ import annotations

from collections.abc import Sequence

from evoopt.tasks import get_task, load_task_data
from reproductions.gacnn.methods import BUDGETS, METHODS, Budget
from reproductions.gacnn.plots import draw
from reproductions.gacnn.report import report
from reproductions.gacnn.results import ROWS, TaskResult
from reproductions.gacnn.units import UnitSetup, data_options, make_unit_worker, units_of
from reproductions.publication import Publication
from reproductions.results import collect
from reproductions.units import Unit, UnitFile


def _intro(paper: bool) -> str:
    return (
        "The publication prints curves without numbers, repetitions or counts of iterations. This is a small "
        "budget of our own; few seeds detect large differences only."
    )


def _prepare(task: str, budget: Budget, setup: UnitSetup) -> Budget:
    load_task_data(get_task(task), data_options(budget, setup.data_dir))
    return budget


def _collect(task: str, budget: Budget, units: Sequence[Unit], file: UnitFile) -> TaskResult:
    return TaskResult(task, budget, collect(units, file, ROWS))


GACNN = Publication(
    name="gacnn",
    title="Esfahanian and Akhavan (2019): GACNN repeated, with numbers",
    intro=_intro,
    parts=tuple(BUDGETS),
    chosen=lambda paper: ("genetic_mnist", "genetic_digits"),
    methods=METHODS,
    budget=lambda task, paper: BUDGETS[task],
    prepare=_prepare,
    units=units_of,
    worker=make_unit_worker,
    setup=lambda place, out: UnitSetup(place.data_dir, place.device),
    collect=_collect,
    report=report,
    draw=draw,
    parts_option="tasks",
    least={"population": 2, "generations": 2},
)
