"""Zhang and Gouza (2018): tables 1, 3 and 4 and figures 3 to 6, and GADAM against Adam at equal compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from evoopt.execution.process_setup import usable_cores
from evoopt.tasks import get_task, load_task_data
from reproductions.gadam.budget import (
    DEFAULT_PARTS,
    FIGURE_PARTS,
    PAPER_PARTS,
    PARTS,
    Budget,
    FiguresBudget,
    budget_of,
)  # fmt: skip
from reproductions.gadam.figures import generation_units, measure_times, population_units
from reproductions.gadam.plots import draw
from reproductions.gadam.published import PUBLISHED
from reproductions.gadam.report import report
from reproductions.gadam.results import FiguresResult, TableResult
from reproductions.gadam.units import METHODS, data_options, make_unit_worker, units_of
from reproductions.publication import Publication
from reproductions.results import PartResult
from reproductions.units import Setup, Unit, UnitFile


def _prepare(name: str, budget: Budget, setup: Setup) -> Budget:
    part = PARTS[budget.part if isinstance(budget, FiguresBudget) else name]
    load_task_data(get_task(part.task), data_options(part, setup.data_dir))
    if not isinstance(budget, FiguresBudget):
        return budget
    return replace(budget, workers=tuple(count for count in budget.workers if count <= usable_cores()))


def _units(name: str, budget: Budget, methods: Sequence[str]) -> list[Unit]:
    if not isinstance(budget, FiguresBudget):
        return units_of(name, budget, methods)
    sweep = [unit for units in population_units(budget).values() for unit in units]
    return [*generation_units(budget), *sweep]


def _collect(name: str, budget: Budget, units: Sequence[Unit], file: UnitFile) -> PartResult:
    if isinstance(budget, FiguresBudget):
        return FiguresResult.of(name, budget, file)
    return TableResult.of(name, budget, units, file)


def _extra(part: PartResult | None) -> Mapping[str, Any]:
    if not isinstance(part, TableResult):
        return {}
    return {"published": {row: asdict(number) for row, number in PUBLISHED.get(part.name, {}).items()}}


GADAM = Publication(
    name="gadam",
    title="Zhang and Gouza (2018): GADAM repeated, and held against equal compute",
    intro="arXiv 1805.07500. Numbers are mean ± standard deviation over seeds.",
    parts=(*PARTS, *FIGURE_PARTS),
    small_parts=DEFAULT_PARTS,
    paper_parts=PAPER_PARTS,
    methods=METHODS,
    budget=budget_of,
    prepare=_prepare,
    units=_units,
    worker=make_unit_worker,
    collect=_collect,
    report=report,
    draw=draw,
    extra=_extra,
    measure=measure_times,
)
