"""Vose et al. (2019): table 4 and figures 9, 11 and 13, with random search and truncation at equal budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from evoopt.systems.model_runs import phase_setup
from reproductions.publication import Publication
from reproductions.results import collect
from reproductions.three_parent.budget import DEFAULT_PARTS, PAPER_PARTS, PARTS, Budget
from reproductions.three_parent.plots import draw
from reproductions.three_parent.published import PUBLISHED
from reproductions.three_parent.report import report
from reproductions.three_parent.results import NAMES, SearchResult
from reproductions.three_parent.units import METHODS, configure, make_unit_worker, units_of_part
from reproductions.units import Setup, Unit, UnitFile, units_of


def _prepare(part: str, budget: Budget, setup: Setup) -> Budget:
    """The budget with a number of steps: the data tell the length of an epoch."""
    config = configure(units_of(part, budget, METHODS)[0], setup)
    task, data = phase_setup(config, config.training).load()
    return replace(budget, steps=budget.steps or len(data.train) // task.batch_size)


def _collect(part: str, budget: Budget, units: Sequence[Unit], file: UnitFile) -> SearchResult:
    return SearchResult(part, budget, collect(units, file, NAMES))


def _extra(part: SearchResult | None) -> Mapping[str, Any]:
    if part is None:
        return {"published": {name: asdict(number) for name, number in PUBLISHED.items()}}
    return {"measure": part.measure}


THREE_PARENT = Publication(
    name="three_parent",
    title="Vose et al. (2019): three parents repeated, and held against controls of the same budget",
    intro="arXiv 1901.03900.",
    parts=tuple(PARTS),
    small_parts=DEFAULT_PARTS,
    paper_parts=PAPER_PARTS,
    methods=METHODS,
    budget=lambda part, paper: PARTS[part].paper if paper else PARTS[part].small,
    prepare=_prepare,
    units=units_of_part,
    worker=make_unit_worker,
    collect=_collect,
    report=report,
    draw=draw,
    extra=_extra,
    bounds={"population": (2, math.inf), "target": (1e-6, 1)},
)
