"""Population-based training from its configuration: ``evoopt search pbt-digits``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from evoopt.config import RunConfig
from evoopt.errors import EvooptError
from evoopt.evolution.stages import evolve
from evoopt.runs.checkpoints import Checkpoints
from evoopt.runs.run import Run
from evoopt.systems.hyperparameters.config import PbtConfig
from evoopt.systems.hyperparameters.pbt_scheme import PbtScheme, pbt_budget
from evoopt.systems.hyperparameters.schedules import Replay, Schedule, replay
from evoopt.systems.model_runs import Sizes, name_winner, phase_setup, training_phases
from evoopt.systems.progress import Progress


def search(run: Run, config: RunConfig, quiet: bool) -> None:
    """Train the population to the end and keep the best model and its schedule."""
    if run.complete:
        return
    config = cast(PbtConfig, config)
    section, training = config.recombination, config.training
    setup = phase_setup(config, training)
    task, data = setup.load()
    sizes = Sizes.of(task, data, training.batch_size)
    checkpoints = Checkpoints(run)
    with (
        training_phases(config, training, setup, run) as trainer,
        Progress(section.generations, done=checkpoints.done, quiet=quiet) as progress,
    ):
        scheme = PbtScheme(task, sizes, section, config.loci(), trainer, training.steps)
        budget = pbt_budget(section, run.generations)
        evolve(scheme, checkpoints, progress.stage_done, budget)
    run.note_end(budget.why)
    name_winner(run, scheme.best_model(), scheme.winner(), task, data)


def winning_schedule(run: Run) -> Schedule:
    """The winner's hyperparameters along its weight lineage.

    Raises:
        EvooptError: A run of another individual type, or not finished.
    """
    config = run.config
    if not isinstance(config, PbtConfig):
        raise EvooptError(f"{run.folder} has no schedule: it is not a run of population-based training")
    return Schedule.from_json(run.winner["schedule"])


def replay_run(run: Run, seeds: Sequence[int]) -> tuple[Replay, Replay]:
    """Train from scratch by a run's schedule, and by its first values throughout, on the same fresh seeds.

    Args:
        run: A finished run of population-based training.
        seeds: Root seeds.

    Raises:
        EvooptError: See `winning_schedule`.
    """
    schedule = winning_schedule(run)
    config = cast(PbtConfig, run.config)
    setup = phase_setup(config, config.training)
    task, _ = setup.load()
    defaults = config.loci().default().values()
    constant = Schedule.constant(
        defaults, len(schedule), schedule.steps, schedule.batch_size, schedule.optimizer
    )
    with training_phases(config, config.training, setup) as trainer:
        return replay(schedule, seeds, task, trainer), replay(constant, seeds, task, trainer)
