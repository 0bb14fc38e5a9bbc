"""The units of a reproduction of GADAM: which there are, and how a worker does one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from evoopt.evolution import stages
from evoopt.execution import Worker
from evoopt.jobs.phase_worker import PhaseSetup, make_phase_worker
from evoopt.systems.gadam.config import GadamSection
from evoopt.systems.gadam.scheme import GadamScheme, gadam_toolbox
from evoopt.systems.model_runs import Sizes
from evoopt.tasks import DataOptions, get_task, load_task_data
from evoopt.tasks.task import Task, TaskData
from evoopt.training.members import Members
from reproductions.gadam.baselines import OPTIMIZERS, Bench, classical, longer, plain, restarts, tuned
from reproductions.gadam.budget import PARTS, SUBJECTS, Budget, Part
from reproductions.gadam.lineage import LineageTrainer, thinned
from reproductions.units import Setup, Unit
from reproductions.units import units_of as listed

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "gadam": {},
    "gadam_paper": {"mutation": "uniform", "validation": "train", "keep_untrained": False},
    "gadam_reinitialised": {"children": "reinitialised"},
}
"""Settings of GADAM by row: the robust defaults, as published, and the control without inheritance."""

CHUNK = 10  # members per program
_REMEMBERED = (
    "generation", "best", "mean", "metric", "adopted", "untrained", "parents", "children", "steps",
)  # fmt: skip

_BASELINES: Mapping[str, Callable[[Bench, Members], dict[str, Any]]] = {
    "restarts": restarts,
    "adam_long": longer,
    "adam_tuned": tuned,
    **{name: partial(plain, name=name) for name in OPTIMIZERS},
}
_CLASSICAL = ("random_forest", "svm", "knn")
DETERMINISTIC = ("svm", "knn")
METHODS = (*VARIANTS, *_BASELINES, *_CLASSICAL)
"""What is done to each data set; ``restarts`` gives the rows adam, adam_best and adam_ensemble."""


def data_options(part: Part, data_dir: Path | None) -> DataOptions:
    """The same division for every seed and method."""
    return DataOptions(data_dir, validation_fraction=part.validation_fraction)


def units_of(part: str, budget: Budget, methods: Sequence[str] = METHODS, label: str = "") -> list[Unit]:
    """The units of a part, the longest first.

    Args:
        part: A key of `PARTS`.
        budget: How much each may spend.
        methods: Which of `METHODS`.
        label: What to call the part, its name by default.
    """
    units = listed(label or part, budget, methods, data=part)
    return [unit for unit in units if unit.seed == 0 or unit.method not in DETERMINISTIC]


def make_unit_worker(setup: Setup) -> Worker:
    """Return the function that does units; data sets are loaded when they are needed, and kept."""

    @cache
    def load(name: str) -> tuple[Task, TaskData]:
        task = get_task(PARTS[name].task)
        return task, load_task_data(task, data_options(PARTS[name], setup.data_dir))

    def work(chunk: Any) -> dict[str, Any]:
        unit: Unit = chunk
        name = str(unit.settings["data"])
        budget = Budget(**{key: value for key, value in unit.settings.items() if key != "data"})
        # One after another suits large networks on a CPU only.
        engine = PARTS[name].engine if setup.device == "cpu" else "batched"
        bench = Bench(*load(name), budget, unit.seed, engine, setup.device)
        started = time.perf_counter()
        found = _do(bench, unit.method)
        if "losses" in found:
            found["curve"] = thinned(found.pop("losses"))
        return {**found, "seconds": round(time.perf_counter() - started, 2)}

    return work


def _do(bench: Bench, method: str) -> dict[str, Any]:
    if method in VARIANTS:
        return evolve(bench, method)
    if method in _CLASSICAL:
        return classical(bench, method)
    scheme, _ = make_scheme(bench, "gadam")
    return _BASELINES[method](bench, scheme.members)


def make_scheme(bench: Bench, variant: str) -> tuple[GadamScheme, LineageTrainer]:
    """A GADAM run; its initial models depend on the seed alone, and every other method starts from them."""
    budget, task, data = bench.budget, bench.task, bench.data
    section = GadamSection(
        population=budget.population, generations=budget.generations, seed=bench.seed,
        validation_size=budget.validation_size, **VARIANTS[variant],
    )  # fmt: skip
    work = make_phase_worker(PhaseSetup(task, data, bench.device))
    trainer = LineageTrainer(lambda chunks: [work(chunk) for chunk in chunks], CHUNK, bench.engine)
    toolbox = gadam_toolbox(section)
    toolbox.register("select", trainer.select)
    sizes = Sizes(len(data.train), len(data.validation), task.batch_size)
    return GadamScheme(task, sizes, section, budget.steps, trainer, toolbox), trainer


def evolve(bench: Bench, variant: str) -> dict[str, Any]:
    """One GADAM run: the scores of its best model, its generations, and the best model's lineage."""
    scheme, trainer = make_scheme(bench, variant)
    history = stages.evolve(scheme)
    winner = scheme.winner()
    lineage = trainer.lineage(scheme.members.population.weights[0])
    rows = {variant: bench.row(scheme.best_model(), winner["steps"])}
    if variant in SUBJECTS:
        rows[f"{variant}_average"] = bench.row(scheme.average_model(), winner["steps"])
    return {
        "rows": rows,
        "history": [{name: record[name] for name in _REMEMBERED} for record in history],
        "losses": lineage.losses,
        "crossovers": list(lineage.crossovers),
    }
