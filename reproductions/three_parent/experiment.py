"""The experiments of Vose et al. (2019), and controls of equal cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evoopt.compare.comparison import Place
from evoopt.compare.result import without_nan
from evoopt.errors import EvooptError, unknown_name
from evoopt.systems.living_models import phase_setup
from reproductions.three_parent.budget import DEFAULT_PARTS, PAPER_PARTS, PARTS, Budget
from reproductions.three_parent.plots import save_plots
from reproductions.three_parent.published import PUBLISHED
from reproductions.three_parent.report import markdown
from reproductions.three_parent.results import Found, PartResult
from reproductions.three_parent.units import METHODS, UnitSetup, configure, make_unit_worker, units_of
from reproductions.units import UnitFile, do_units


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


def reproduce_recombination(
    *,
    parts: Sequence[str] | None = None,
    methods: Sequence[str] = METHODS,
    paper: bool = False,
    scale: float = 1.0,
    population: int | None = None,
    generations: int | None = None,
    steps: int | None = None,
    seeds: int | None = None,
    replays: int | None = None,
    place: Place | None = None,
    out: Path = Path("runs/recombination"),
    quiet: bool = True,
) -> Reproduction:
    """Repeat table 4 and figures 9, 11 and 13, with random search and truncation at equal budget.

    By default the budget is small; it takes about a quarter of an hour on two cores.

    Args:
        parts: Keys of `PARTS`; by default those that fit the budget, with ``paper`` those of the publication.
        methods: Which of `METHODS` to run in each part.
        paper: The published scale, as far as it is given: weeks on a CPU.
        scale: Factor of the steps.
        population: Members, instead of the budget's.
        generations: Generations.
        steps: Optimizer steps per generation, or most steps of a training where each genome trains afresh;
            before scaling.
        seeds: Searches with each method.
        replays: Trainings on fresh seeds with what each search has found.
        place: Where to train.
        out: Folder for ``reproduction.md``, ``reproduction.json``, pictures, ``units.jsonl``, where each
            finished unit is kept so that an interrupted reproduction goes on, and ``searches``, the run
            folders of the searches.
        quiet: Show no progress bar.

    Raises:
        EvooptError: An unknown part or method, or a number that is too small. Missing data is a note in the
            report.
    """
    place = place or Place()
    parts = parts or (PAPER_PARTS if paper else DEFAULT_PARTS)
    changes = {
        "population": population, "generations": generations, "steps": steps, "seeds": seeds,
        "replays": replays,
    }  # fmt: skip
    _check(parts, methods, changes, scale)
    given = {name: value for name, value in changes.items() if value is not None}
    setup = UnitSetup(out / "searches", place.data_dir, place.device, place.threads_per_worker)
    budgets: dict[str, Budget] = {}
    notes: list[str] = []
    for name in dict.fromkeys(parts):
        budget = replace(PARTS[name].paper if paper else PARTS[name].small, **given)
        try:
            budgets[name] = _with_steps(name, budget, scale, setup)
        except EvooptError as error:
            notes.append(str(error))
    units = {name: units_of(name, budget, methods) for name, budget in budgets.items()}
    out.mkdir(parents=True, exist_ok=True)
    file = UnitFile(out / "units.jsonl")
    notes += do_units(
        [unit for own in units.values() for unit in own],
        file,
        lambda: place.start(make_unit_worker, setup),
        "recombination",
        quiet,
    )  # fmt: skip
    results = (PartResult.collect(name, budget, units[name], file) for name, budget in budgets.items())
    found = Found(tuple(result for result in results if result.found), tuple(notes), paper)
    plots = save_plots(found, out)
    reproduction = Reproduction(found, markdown(found), tuple(plots))
    (out / "reproduction.json").write_text(json.dumps(_as_json(found), indent=1) + "\n", encoding="utf-8")
    (out / "reproduction.md").write_text(reproduction.text, encoding="utf-8")
    return reproduction


def _with_steps(part: str, budget: Budget, scale: float, setup: UnitSetup) -> Budget:
    """The budget with a number of steps; loads the data, to learn the length of an epoch.

    Raises:
        EvooptError: Data that is missing or cannot be read.
    """
    config = configure(units_of(part, budget)[0], setup)
    task, data = phase_setup(config).load()
    steps = budget.steps or len(data.train) // task.batch_size
    return replace(budget, steps=max(1, round(scale * steps)))


def _check(
    parts: Sequence[str], methods: Sequence[str], numbers: dict[str, int | None], scale: float
) -> None:
    for name in parts:
        if name not in PARTS:
            raise unknown_name("part", name, PARTS)
    for name in methods:
        if name not in METHODS:
            raise unknown_name("method", name, METHODS)
    for name, value in numbers.items():
        least = 2 if name == "population" else 1
        if value is not None and value < least:
            raise EvooptError(f"{name} must be at least {least}, not {value}")
    if scale <= 0:
        raise EvooptError(f"scale must be above 0, not {scale}")


def _as_json(found: Found) -> dict[str, Any]:
    body = {
        "kind": "reproduction",
        "version": 1,
        "publication": "recombination",
        "paper_scale": found.paper,
        "parts": {
            part.name: {"budget": asdict(part.budget), "measure": part.measure, "methods": part.found}
            for part in found.parts
        },
        "published": {name: asdict(number) for name, number in PUBLISHED.items()},
        "notes": list(found.notes),
    }
    cleaned: dict[str, Any] = without_nan(body)
    return cleaned
