"""What figures 3 to 6 of the GADAM paper are drawn from: generations, population sizes, workers."""

from __future__ import annotations

import time
from dataclasses import replace

from evoopt.errors import EvooptError
from evoopt.execution import Place, make_executor
from evoopt.jobs.phase_trainer import PhaseTrainer
from evoopt.jobs.phase_worker import PhaseSetup, make_phase_worker
from evoopt.systems.gadam.config import GadamSection
from evoopt.systems.gadam.scheme import GadamScheme
from evoopt.systems.model_runs import Sizes
from evoopt.tasks import get_task, load_task_data
from reproductions.gadam.budget import FIGURES, PARTS, SUBJECTS, Budget, FiguresBudget
from reproductions.gadam.units import data_options, units_of
from reproductions.units import Unit, UnitFile

_ROUNDS = 3


def generation_units(figures: FiguresBudget) -> list[Unit]:
    """Units of figures 3 and 5."""
    return units_of(figures.part, figures.of_run(), SUBJECTS, FIGURES)


def population_units(figures: FiguresBudget) -> dict[int, list[Unit]]:
    """Units of figures 4 and 5 by population size."""
    runs = {
        size: figures.of_run(population=size, generations=figures.sweep_generations)
        for size in figures.populations
    }
    return {size: units_of(figures.part, run, SUBJECTS, FIGURES) for size, run in runs.items()}


def timing_units(figures: FiguresBudget) -> dict[int, Unit]:
    """Units of figure 6 by number of workers."""
    units = units_of(figures.timed_part, replace(figures.timed, seeds=1), ["gadam"], FIGURES)
    return {
        count: replace(units[0], method="time", settings={**units[0].settings, "workers": count})
        for count in figures.workers
    }


def measure_times(part: str, budget: Budget, file: UnitFile, place: Place) -> None:
    """Time a generation with each number of workers that has not been measured yet, nothing else running.

    Raises:
        EvooptError: The data set is missing.
    """
    if not isinstance(budget, FiguresBudget):
        return
    for count, unit in timing_units(budget).items():
        if unit not in file:
            try:
                seconds = _generation_seconds(budget.timed_part, budget.timed, count, place)
            except EvooptError as error:
                raise EvooptError(f"figure 6 is not there: {error}") from None
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
