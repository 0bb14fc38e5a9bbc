"""A GADAM run from its configuration: ``evoopt search gadam-digits``."""

from __future__ import annotations

from typing import cast

from evoopt.config import RunConfig
from evoopt.evolution.stages import evolve
from evoopt.runs.checkpoints import Checkpoints
from evoopt.runs.run import Run
from evoopt.systems.gadam.config import GadamConfig
from evoopt.systems.gadam.scheme import GadamScheme, gadam_budget
from evoopt.systems.model_runs import Sizes, name_winner, phase_setup, scores, training_phases
from evoopt.systems.progress import Progress


def search(run: Run, config: RunConfig, quiet: bool) -> None:
    """Evolve to the end and keep the best model."""
    if run.complete:
        return
    config = cast(GadamConfig, config)
    training, setup = config.training, phase_setup(config, config.training)
    task, data = setup.load()
    sizes = Sizes.of(task, data, training.batch_size)
    checkpoints = Checkpoints(run)
    with (
        training_phases(config, training, setup, run) as trainer,
        Progress(2 * config.gadam.generations, done=checkpoints.done, quiet=quiet) as progress,
    ):
        scheme = GadamScheme(task, sizes, config.gadam, training.steps, trainer)
        budget = gadam_budget(config.gadam, run.generations)
        evolve(scheme, checkpoints, progress.stage_done, budget)
    run.note_end(budget.why)
    about = {**scheme.winner(), "average": scores(scheme.average_model(), task, data)}
    name_winner(run, scheme.best_model(), about, task, data)
