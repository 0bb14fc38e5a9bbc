"""The experiments of Esfahanian and Akhavan (2019), with numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evoopt.compare.comparison import Place
from evoopt.compare.result import without_nan
from evoopt.errors import EvooptError, unknown_name
from evoopt.tasks import get_task, load_task_data
from reproductions.gacnn.methods import METHODS, Budget
from reproductions.gacnn.plots import save_plots
from reproductions.gacnn.report import markdown
from reproductions.gacnn.results import Found, TaskResult
from reproductions.gacnn.units import UnitSetup, data_options, make_unit_worker, units_of
from reproductions.units import UnitFile, do_units

BUDGETS = {
    "genetic_mnist": Budget(population=30, generations=20, examples=1000, steps=800, seeds=2),
    "genetic_digits": Budget(population=50, generations=60, examples=None, steps=2000, seeds=3),
    "genetic_cifar10": Budget(population=30, generations=20, examples=1000, steps=800, seeds=2),
}
"""A small budget for each task."""

DEFAULT_TASKS = ("genetic_mnist", "genetic_digits")


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


def reproduce_gacnn(
    *,
    tasks: Sequence[str] = DEFAULT_TASKS,
    methods: Sequence[str] = METHODS,
    population: int | None = None,
    generations: int | None = None,
    examples: int | None = None,
    steps: int | None = None,
    seeds: int | None = None,
    place: Place | None = None,
    out: Path = Path("runs/gacnn"),
    quiet: bool = True,
) -> Reproduction:
    """Repeat figures 12 to 16, also against examples seen and seconds, and hold the claims against numbers.

    By default the budget is small; it takes about eight minutes on two cores.

    Args:
        tasks: Keys of `BUDGETS`.
        methods: Which of `METHODS` to run.
        population: Networks, instead of the budget's.
        generations: Generations, the first of random networks included.
        examples: Size of the fixed set of training examples that everyone learns from.
        steps: Minibatches of 32 for Adam and SGD.
        seeds: Repetitions.
        place: Where to train.
        out: Folder for ``reproduction.md``, ``reproduction.json``, pictures, and ``units.jsonl``, where each
            finished training is kept so that an interrupted reproduction goes on.
        quiet: Show no progress bar.

    Raises:
        EvooptError: An unknown task or method, or a number that is too small. Missing data is a note in the
            report.
    """
    place = place or Place()
    changes = {
        "population": population, "generations": generations, "examples": examples, "steps": steps,
        "seeds": seeds,
    }  # fmt: skip
    _check(tasks, methods, changes)
    given = {name: value for name, value in changes.items() if value is not None}
    sizes: dict[str, int] = {}
    notes: list[str] = []
    for name in tasks:
        try:
            options = data_options(replace(BUDGETS[name], **given), place.data_dir)
            sizes[name] = len(load_task_data(get_task(name), options).train)
        except EvooptError as error:
            notes.append(str(error))
    budgets = {name: replace(BUDGETS[name], **given) for name in sizes}
    units = {name: units_of(name, budget, methods) for name, budget in budgets.items()}
    out.mkdir(parents=True, exist_ok=True)
    file = UnitFile(out / "units.jsonl")
    setup = UnitSetup(place.data_dir, place.device)
    notes += do_units(
        [unit for own in units.values() for unit in own],
        file,
        lambda: place.start(make_unit_worker, setup),
        "gacnn",
        quiet,
    )  # fmt: skip
    results = (
        TaskResult.collect(name, budget, sizes[name], units[name], file) for name, budget in budgets.items()
    )
    found = Found(tuple(result for result in results if result.rows), tuple(notes))
    plots = save_plots(found, out)
    reproduction = Reproduction(found, markdown(found), tuple(plots))
    (out / "reproduction.json").write_text(json.dumps(_as_json(found), indent=1) + "\n", encoding="utf-8")
    (out / "reproduction.md").write_text(reproduction.text, encoding="utf-8")
    return reproduction


def _check(tasks: Sequence[str], methods: Sequence[str], numbers: dict[str, int | None]) -> None:
    for name in tasks:
        if name not in BUDGETS:
            raise unknown_name("task", name, BUDGETS)
    for name in methods:
        if name not in METHODS:
            raise unknown_name("method", name, METHODS)
    for name, value in numbers.items():
        least = 2 if name in ("population", "generations") else 1
        if value is not None and value < least:
            raise EvooptError(f"{name} must be at least {least}, not {value}")


def _as_json(found: Found) -> dict[str, Any]:
    body = {
        "kind": "reproduction",
        "version": 1,
        "publication": "gacnn",
        "tasks": {
            result.name: {
                "budget": asdict(result.budget),
                "examples": result.examples,
                "rows": {
                    row: {seed: {k: v for k, v in s.items() if k != "curve"} for seed, s in by_seed.items()}
                    for row, by_seed in result.rows.items()
                },
            }
            for result in found.tasks
        },
        "notes": list(found.notes),
    }
    cleaned: dict[str, Any] = without_nan(body)
    return cleaned
