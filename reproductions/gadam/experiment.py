"""The experiments of Zhang and Gouza (2018), and GADAM against equal compute."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evoopt.compare.comparison import Place
from evoopt.compare.result import without_nan
from evoopt.errors import EvooptError, unknown_name
from evoopt.execution.process_setup import usable_cores
from evoopt.tasks import get_task, load_task_data
from reproductions.gadam import budget as budgets
from reproductions.gadam.budget import FIGURES, PARTS, Budget, FiguresBudget
from reproductions.gadam.figures import generation_units, measure_times, population_units
from reproductions.gadam.plots import save_plots
from reproductions.gadam.published import PUBLISHED
from reproductions.gadam.report import markdown
from reproductions.gadam.results import Found, PartResult
from reproductions.gadam.units import METHODS, UnitSetup, data_options, make_unit_worker, units_of
from reproductions.units import Unit, UnitFile, do_units

REPORT_FILE = "reproduction.md"


@dataclass(frozen=True)
class Reproduction:
    """What a reproduction found.

    Attributes:
        found: All numbers.
        text: The report as Markdown.
        plots: Pictures that belong to it.
    """

    found: Found
    text: str
    plots: tuple[Path, ...]


def reproduce_gadam(
    *,
    parts: Sequence[str] | None = None,
    methods: Sequence[str] = METHODS,
    paper: bool = False,
    scale: float = 1.0,
    population: int | None = None,
    generations: int | None = None,
    steps: int | None = None,
    seeds: int | None = None,
    figures: FiguresBudget | None = None,
    place: Place | None = None,
    out: Path = Path("runs/gadam"),
    quiet: bool = True,
) -> Reproduction:
    """Repeat tables 1, 3 and 4 and figures 3 to 6, and hold GADAM against Adam that gets as much computing.

    By default the budget is small; it takes about twelve minutes on two cores.

    Args:
        parts: Data sets and ``"figures"``; by default those that fit the budget, with ``paper`` all of them.
        methods: Which of `METHODS` to run on each data set.
        paper: The published scale, as far as it is given: days on a CPU.
        scale: Factor of the steps of all training phases.
        population: Unit models [g] of the tables, instead of the budget's.
        generations: Generations [K] of the tables.
        steps: Steps of a training phase [E] of tables and figures, before scaling.
        seeds: Repetitions of tables and figures.
        figures: What the figures are drawn from, instead of the budget's.
        place: Where to train.
        out: Folder for ``reproduction.md``, ``reproduction.json``, pictures, and ``units.jsonl``, where each
            finished training is kept so that an interrupted reproduction goes on.
        quiet: Show no progress bar.

    Raises:
        EvooptError: An unknown part or method, or a number that is too small. Missing data is a note in the
            report.
    """
    place = place or Place()
    parts = parts or (budgets.PAPER_PARTS if paper else budgets.DEFAULT_PARTS)
    _check(parts, methods, population, generations, steps, seeds, scale)
    changes = {"steps": steps, "seeds": seeds}
    wanted = {
        name: _changed(
            PARTS[name].paper if paper else PARTS[name].small,
            scale, population=population, generations=generations, **changes,
        )
        for name in parts if name != FIGURES
    }  # fmt: skip
    drawn = _figures(figures, paper, scale, changes) if FIGURES in parts else None
    missing: dict[str, str] = {}
    for name in dict.fromkeys([*wanted, *([drawn.part] if drawn else [])]):
        try:
            load_task_data(get_task(PARTS[name].task), data_options(PARTS[name], place.data_dir))
        except EvooptError as error:
            missing[name] = str(error)
    wanted = {name: budget for name, budget in wanted.items() if name not in missing}
    drawn = None if drawn is None or drawn.part in missing else drawn
    out.mkdir(parents=True, exist_ok=True)
    file = UnitFile(out / "units.jsonl")
    units = {name: units_of(name, budget, methods) for name, budget in wanted.items()}
    everything = [unit for own in units.values() for unit in own] + _figure_units(drawn)
    setup = UnitSetup(place.data_dir, place.device)
    notes = [
        *missing.values(),
        *do_units(everything, file, lambda: place.start(make_unit_worker, setup), "gadam", quiet),
    ]
    if drawn is not None:
        try:
            measure_times(drawn, file, place)
        except EvooptError as error:
            notes.append(f"figure 6 is not there: {error}")
    results = tuple(PartResult.collect(name, budget, units[name], file) for name, budget in wanted.items())
    found = Found(tuple(part for part in results if part.rows), drawn, file, tuple(notes), paper)
    plots = save_plots(found, out)
    reproduction = Reproduction(found, markdown(found), tuple(plots))
    (out / "reproduction.json").write_text(json.dumps(_as_json(found), indent=1) + "\n", encoding="utf-8")
    (out / REPORT_FILE).write_text(reproduction.text, encoding="utf-8")
    return reproduction


def _check(
    parts: Sequence[str],
    methods: Sequence[str],
    population: int | None,
    generations: int | None,
    steps: int | None,
    seeds: int | None,
    scale: float,
) -> None:
    for name in parts:
        if name not in PARTS and name != FIGURES:
            raise unknown_name("part", name, (*PARTS, FIGURES))
    for name in methods:
        if name not in METHODS:
            raise unknown_name("method", name, METHODS)
    least = {
        "population": (population, 2),
        "generations": (generations, 1),
        "steps": (steps, 1),
        "seeds": (seeds, 1),
    }
    for name, (value, low) in least.items():
        if value is not None and value < low:
            raise EvooptError(f"{name} must be at least {low}, not {value}")
    if scale <= 0:
        raise EvooptError(f"scale must be above 0, not {scale}")


def _changed(budget: Budget, scale: float, **changes: int | None) -> Budget:
    budget = replace(budget, **{name: value for name, value in changes.items() if value is not None})
    return replace(budget, steps=max(1, round(scale * budget.steps)))


def _figures(
    figures: FiguresBudget | None, paper: bool, scale: float, changes: dict[str, int | None]
) -> FiguresBudget:
    if figures is not None:
        return figures
    figures = budgets.PAPER_FIGURES if paper else budgets.SMALL_FIGURES
    cores = usable_cores()
    return replace(
        figures,
        budget=_changed(figures.budget, scale, **changes),
        workers=tuple(count for count in figures.workers if count <= cores),
    )


def _figure_units(figures: FiguresBudget | None) -> list[Unit]:
    if figures is None:
        return []
    sweep = [unit for units in population_units(figures).values() for unit in units]
    return list({unit.key: unit for unit in [*generation_units(figures), *sweep]}.values())


def _as_json(found: Found) -> dict[str, Any]:
    body = {
        "kind": "reproduction",
        "version": 1,
        "publication": "gadam",
        "paper_scale": found.paper,
        "parts": {
            part.name: {
                "budget": asdict(part.budget),
                "rows": part.rows,
                "published": {row: asdict(number) for row, number in PUBLISHED.get(part.name, {}).items()},
            }
            for part in found.parts
        },
        "notes": list(found.notes),
    }
    cleaned: dict[str, Any] = without_nan(body)
    return cleaned
