"""The units of a reproduction of recombination: a search with one method, and its result on fresh seeds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from evoopt.execution import Worker
from evoopt.systems.hyperparameters.config import HpoConfig, PbtConfig, RecombinationConfig
from reproductions.three_parent.budget import PARTS, Budget
from reproductions.three_parent.work import find_hyperparameters, find_schedule
from reproductions.units import Setup, Unit, units_of

SEARCHES: Mapping[str, Mapping[str, Any]] = {
    "random": {"scheme": "random"},
    "truncation": {"scheme": "truncation"},
    "three_parent_paper": {
        "scheme": "three_parent", "mutation_rate": 0.05, "initial": "mutants", "winsorise": 0.0,
    },
    "three_parent": {"scheme": "three_parent", "mutation_rate": 0.2, "initial": "random", "winsorise": 0.2},
}  # fmt: skip
"""Settings of a search by method; the last two are the published operators and robust ones."""

CONTROLS = ("default", "stepwise")
METHODS = (*CONTROLS, *SEARCHES)
"""What is done in each part; the first two choose nothing but when to stop, and ``stepwise``, which only
schedules can be, lowers the rate as the published baseline of ResNet-20 does."""

_FRESH = 1_000_000


def configure(unit: Unit, setup: Setup) -> RecombinationConfig:
    """The configuration of a unit's search; that of controls differs by its scheme alone."""
    part, budget = PARTS[unit.part], Budget(**unit.settings)
    config = part.config
    on_cpu = setup.device == "cpu"
    return config.override(
        {
            "recombination": {
                "population": budget.population,
                "generations": budget.generations,
                "seed": unit.seed,
                **({"target": budget.target, "every": budget.every} if isinstance(config, HpoConfig) else {}),
                **({"fom": part.measure} if part.measure in ("steps", "seconds") else {}),
                **({"limit": part.limit / budget.narrower**2} if part.limit is not None else {}),
                **SEARCHES.get(unit.method, {}),
            },
            "training": {
                **({} if part.task is None else {"task": part.task}),
                "steps": budget.steps,
                "train_size": budget.train_size,
                # One after another suits large networks on a CPU only.
                "engine": config.training.engine if on_cpu and budget.narrower == 1 else "batched",
                "threads_per_worker": setup.threads,
            },
            "execution": {
                "executor": "serial",
                "device": setup.device,
                "data_dir": None if setup.data_dir is None else str(setup.data_dir),
            },
            "space": {name: _narrow(config.space[name], budget.narrower) for name in part.widths},
        }
    )


def _narrow(locus: Mapping[str, Any], factor: int) -> dict[str, Any]:
    return {**locus, **{name: max(1, locus[name] // factor) for name in ("min", "max", "default")}}


def fresh_seeds(seed: int, count: int) -> range:
    """Seeds that no search has seen, others for each search."""
    return range((seed + 1) * _FRESH, (seed + 1) * _FRESH + count)


def units_of_part(part: str, budget: Budget, methods: Sequence[str]) -> list[Unit]:
    """A unit for each seed and method that the part has."""
    named = [name for name in methods if PARTS[part].schedules or name != "stepwise"]
    return units_of(part, budget, named)


def make_unit_worker(setup: Setup) -> Worker:
    """Return the function that does units."""

    def work(chunk: Any) -> dict[str, Any]:
        unit: Unit = chunk
        started = time.perf_counter()
        config = configure(unit, setup)
        # How often its find is repeated afterwards is no part of a search.
        lone = unit.with_settings({"replays": None, **setup.rounding})
        folder = setup.folder / "searches" / f"{unit.part}-{unit.method}-{unit.seed}-{lone.key}"
        seeds = fresh_seeds(unit.seed, unit.settings["replays"])
        where = None if unit.method in CONTROLS else folder
        if isinstance(config, HpoConfig):
            found = find_hyperparameters(config, where, seeds)
        else:
            assert isinstance(config, PbtConfig), "there are two types"
            found = find_schedule(config, where, seeds, stepwise=unit.method == "stepwise")
        return {**found, "seconds": round(time.perf_counter() - started, 2)}

    return work
