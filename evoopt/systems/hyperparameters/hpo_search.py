"""A search for hyperparameters from its configuration: ``evoopt search hpo-lenet``."""

from __future__ import annotations

import math
from typing import cast

from evoopt.config import RunConfig
from evoopt.evolution.stages import evolve
from evoopt.runs.checkpoints import Checkpoints
from evoopt.runs.finished_chunks import numbers_of_chunks, states_folder
from evoopt.runs.run import Run
from evoopt.systems.hyperparameters.config import HpoConfig
from evoopt.systems.hyperparameters.hpo_scheme import Trials, hpo_budget, hpo_scheme
from evoopt.systems.hyperparameters.trial import Trial, TrialPlan
from evoopt.systems.hyperparameters.trial_runner import TrialRunner, TrialSetup, make_trial_worker
from evoopt.systems.model_runs import phase_setup
from evoopt.systems.progress import Progress


def search(run: Run, config: RunConfig, quiet: bool) -> None:
    """Search to the end and keep the best hyperparameters."""
    if run.finished:
        return
    config = cast(HpoConfig, config)
    section, training = config.recombination, config.training
    setup = TrialSetup(phase_setup(config, training), trial_plan(config))
    checkpoints, place = Checkpoints(run), config.execution.place(training.threads_per_worker)
    memory = numbers_of_chunks(run, lambda row: Trial(**row))
    with (
        place.start(make_trial_worker, setup) as executor,
        Progress(section.generations, done=checkpoints.done, quiet=quiet) as progress,
    ):
        runner = TrialRunner.on(executor, setup, training.chunk_size, memory, states_folder(run, place))
        trials = Trials(runner.run, section.seed, section.fom)
        budget = hpo_budget(section, run.generations)
        scheme = hpo_scheme(section, config.loci(), trials, budget=budget)
        evolve(scheme, checkpoints, progress.stage_done, budget)
    run.note_end(budget.why)
    run.store.save_winner(trials.winner(scheme.generations))
    run.write_result()


def trial_plan(config: HpoConfig) -> TrialPlan:
    """How networks are trained and judged."""
    section, training = config.recombination, config.training
    assert training.steps is not None, "the configuration was checked"
    return TrialPlan(
        section.fom,
        training.steps,
        training.batch_size or 0,
        section.target,
        section.every,
        section.optimizer,
        training.engine,
        math.inf if section.limit is None else section.limit,
    )
