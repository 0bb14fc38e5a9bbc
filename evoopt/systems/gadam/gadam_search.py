"""A GADAM run from its configuration: ``evoopt search gadam-digits``."""

from __future__ import annotations

from typing import cast

from evoopt.config import RunConfig
from evoopt.runs.run import Run
from evoopt.systems.gadam.config import GadamConfig
from evoopt.systems.gadam.scheme import GadamScheme, Sizes
from evoopt.systems.living_models import (
    evolve_run,
    name_winner,
    phase_setup,
    phase_trainer,
    training_executor,
)


def search(run: Run, config: RunConfig, quiet: bool) -> None:
    """Evolve to the end and keep the best model."""
    if run.finished:
        return
    config = cast(GadamConfig, config)
    training, setup = config.training, phase_setup(config)
    task, data = setup.load()
    executor = training_executor(config, setup)

    def make() -> GadamScheme:
        sizes = Sizes(len(data.train), len(data.validation), training.batch_size or task.batch_size)
        return GadamScheme(task, sizes, config.gadam, training.steps, phase_trainer(executor, config))

    scheme = evolve_run(run, executor, make, 2 * config.gadam.generations, quiet)
    name_winner(run, scheme.best_model(), scheme.winner(), task, data)
