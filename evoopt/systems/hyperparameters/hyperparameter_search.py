"""Hyperparameters by recombination as an individual type: ``evoopt search pbt-digits``, ``hpo-lenet``.

For people's own code there are `PopulationBasedTraining` and `ThreeParentGA`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from evoopt.config import RunConfig
from evoopt.errors import EvooptError
from evoopt.runs.run import Run
from evoopt.systems.gadam.scheme import Sizes
from evoopt.systems.hyperparameters.config import RecombinationConfig
from evoopt.systems.hyperparameters.hpo_scheme import HpoScheme
from evoopt.systems.hyperparameters.pbt_scheme import PbtScheme
from evoopt.systems.hyperparameters.schedules import Replay, Schedule, replay
from evoopt.systems.hyperparameters.trial import TrialPlan
from evoopt.systems.hyperparameters.trial_runner import TrialRunner, TrialSetup, make_trial_worker
from evoopt.systems.living_models import (
    evolve_run,
    name_winner,
    phase_setup,
    phase_trainer,
    training_executor,
)


def search(run: Run, config: RunConfig, quiet: bool) -> None:
    """Evolve to the end and keep the best model (mode pbt) or hyperparameters (mode hpo)."""
    if run.finished:
        return
    config = cast(RecombinationConfig, config)
    if config.recombination.mode == "pbt":
        _train_population(run, config, quiet)
    else:
        _search_hyperparameters(run, config, quiet)


def _train_population(run: Run, config: RecombinationConfig, quiet: bool) -> None:
    section, training, setup = config.recombination, config.training, phase_setup(config)
    task, data = setup.load()
    executor = training_executor(config, setup)

    def make() -> PbtScheme:
        sizes = Sizes(len(data.train), len(data.validation), training.batch_size or task.batch_size)
        trainer = phase_trainer(executor, config)
        return PbtScheme(task, sizes, section, config.loci(), trainer, training.steps)

    scheme = evolve_run(run, executor, make, section.generations, quiet)
    name_winner(run, scheme.best_model(), scheme.winner(), task, data)


def _search_hyperparameters(run: Run, config: RecombinationConfig, quiet: bool) -> None:
    section, training = config.recombination, config.training
    assert training.steps is not None, "the configuration was checked"
    plan = TrialPlan(
        section.fom,
        training.steps,
        training.batch_size or 0,
        section.target,
        section.every,
        section.optimizer,
        training.engine,
    )
    setup = TrialSetup(phase_setup(config), plan)
    executor = config.execution.place(training.threads_per_worker).start(make_trial_worker, setup)

    def make() -> HpoScheme:
        runner = TrialRunner.on(executor, setup, training.chunk_size)
        return HpoScheme(section, config.loci(), runner.run)

    scheme = evolve_run(run, executor, make, section.generations, quiet)
    winner = scheme.winner()
    if winner["fom"] is None:
        raise EvooptError("every training diverged: narrow the space, the bounds of lr for one")
    run.store.save_winner(winner)
    run.write_result()


def winning_schedule(run: Run) -> Schedule:
    """The winner's hyperparameters along its weight lineage.

    Raises:
        EvooptError: A run of another individual type or mode, or not finished.
    """
    config = run.config
    if not isinstance(config, RecombinationConfig) or config.recombination.mode != "pbt":
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
    config = cast(RecombinationConfig, run.config)
    setup = phase_setup(config)
    task, _ = setup.load()
    defaults = config.loci().default().values()
    constant = Schedule.constant(
        defaults, len(schedule), schedule.steps, schedule.batch_size, schedule.optimizer
    )
    with training_executor(config, setup) as executor:
        trainer = phase_trainer(executor, config)
        return replay(schedule, seeds, task, trainer), replay(constant, seeds, task, trainer)
