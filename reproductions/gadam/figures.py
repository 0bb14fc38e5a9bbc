"""What figures 3 to 6 of the GADAM paper are drawn from: generations, population sizes, workers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoopt.compare.comparison import Place
from evoopt.config.gadam import GadamSection
from evoopt.evolution.gadam import GadamScheme, Sizes
from evoopt.evolution.phase_trainer import PhaseSetup, PhaseTrainer, make_phase_worker
from evoopt.execution import make_executor
from evoopt.tasks import get_task, load_task_data
from reproductions.gadam.budget import FIGURES, PARTS, Budget, FiguresBudget
from reproductions.gadam.units import data_options, units_of
from reproductions.units import Unit, UnitFile

FIGURE_VARIANTS = ("gadam_paper", "gadam")
_ROUNDS = 3


@dataclass(frozen=True)
class Course:
    """One GADAM run as figures see it, an entry per generation.

    Attributes:
        parents: Mean loss of the trained parents on the validation batch.
        children: Mean loss of the trained children.
        parents_accuracy: Mean accuracy likewise.
        children_accuracy: Likewise.
        adopted: Share of children among the survivors.
        best: Lowest loss among the survivors.
    """

    parents: NDArray[np.float64]
    children: NDArray[np.float64]
    parents_accuracy: NDArray[np.float64]
    children_accuracy: NDArray[np.float64]
    adopted: NDArray[np.float64]
    best: NDArray[np.float64]

    @classmethod
    def of(cls, result: dict[str, Any]) -> Course:
        """Read the result of a unit."""
        history = result["history"]

        def column(kind: str, name: str) -> NDArray[np.float64]:
            return np.array([_mean(record[kind][name]) for record in history])

        return cls(
            column("parents", "loss"),
            column("children", "loss"),
            column("parents", "metric"),
            column("children", "metric"),
            np.array([record["adopted"] for record in history], np.float64),
            np.array([record["best"] for record in history], np.float64),
        )


def generation_units(figures: FiguresBudget) -> list[Unit]:
    """Units of figures 3 and 5."""
    return units_of(figures.part, figures.budget, FIGURE_VARIANTS, FIGURES)


def population_units(figures: FiguresBudget) -> dict[int, list[Unit]]:
    """Units of figures 4 and 5 by population size."""
    budget = replace(figures.budget, generations=figures.sweep_generations)
    return {
        size: units_of(figures.part, replace(budget, population=size), FIGURE_VARIANTS, FIGURES)
        for size in figures.populations
    }


def courses(units: Sequence[Unit], file: UnitFile, variant: str) -> list[Course]:
    """The finished runs of a variant."""
    return [Course.of(file[unit]) for unit in units if unit.method == variant and unit in file]


def timing_units(figures: FiguresBudget) -> dict[int, Unit]:
    """Units of figure 6 by number of workers."""
    units = units_of(figures.timed_part, replace(figures.timed, seeds=1), ["gadam"], FIGURES)
    return {
        count: replace(units[0], method="time", settings={**units[0].settings, "workers": count})
        for count in figures.workers
    }


def measure_times(figures: FiguresBudget, file: UnitFile, place: Place) -> None:
    """Time a generation with each number of workers that has not been measured yet, nothing else running.

    Raises:
        EvooptError: The data set is missing.
    """
    for count, unit in timing_units(figures).items():
        if unit not in file:
            seconds = _generation_seconds(figures.timed_part, figures.timed, count, place)
            file.keep(unit, {"seconds": seconds})


def _generation_seconds(name: str, budget: Budget, workers: int, place: Place) -> list[float]:
    part = PARTS[name]
    task, options = get_task(part.task), data_options(part, place.data_dir)
    data = load_task_data(task, options)
    setup = PhaseSetup(part.task, options, place.device)
    sizes = Sizes(len(data.train), len(data.validation), task.batch_size)
    section = GadamSection(population=budget.population, generations=_ROUNDS + 1, validation_size=1000)
    seconds = []
    with make_executor("process", make_phase_worker, setup, workers=workers) as executor:
        trainer = PhaseTrainer.on(executor, -(-budget.population // workers), part.engine)
        scheme = GadamScheme(task, sizes, section, budget.steps, trainer)
        for _ in range(_ROUNDS + 1):
            started = time.perf_counter()
            scheme.advance()
            scheme.advance()
            seconds.append(round(time.perf_counter() - started, 3))
    return seconds[1:]  # the first one starts workers and loads data


def _mean(values: Sequence[float | None]) -> float:
    finite = [value for value in values if value is not None]
    return float(np.mean(finite)) if finite else float("nan")
