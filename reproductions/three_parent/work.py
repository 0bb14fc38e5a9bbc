"""What a unit does: search, and train from scratch with what was found, on fresh seeds and to be tested."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evoopt.errors import EvooptError
from evoopt.individuals import individual_type
from evoopt.jobs.phase_trainer import PhaseTrainer
from evoopt.jobs.phase_worker import Examples
from evoopt.optim.stages.annealing import fraction_factor
from evoopt.runs.checkpoints import WEIGHTS_FOLDER
from evoopt.runs.run import CONFIG_FILE, Run
from evoopt.systems.hyperparameters.config import HpoConfig, PbtConfig, RecombinationConfig
from evoopt.systems.hyperparameters.hpo_search import trial_plan
from evoopt.systems.hyperparameters.schedules import Replay, Schedule, replay
from evoopt.systems.hyperparameters.trial import Trial, figure_of_merit
from evoopt.systems.hyperparameters.trial_runner import TrialRunner, TrialSetup, make_network
from evoopt.systems.model_runs import phase_setup
from evoopt.tasks.task import Split, TaskData
from evoopt.training.member_hyperparameters import Value


def search(config: RecombinationConfig, folder: Path) -> Run:
    """Search in a run folder, or go on there; returns the finished run, which keeps no checkpoint."""
    if not (folder / CONFIG_FILE).exists():
        shutil.rmtree(folder, ignore_errors=True)  # what an interruption left of its making
        Run.create(folder, config).close()
    with Run(folder, writable=True) as run:
        individual_type(config.individual).search(run, config, quiet=True)
    shutil.rmtree(folder / WEIGHTS_FOLDER, ignore_errors=True)
    return Run(folder)


def find_schedule(
    config: PbtConfig, folder: Path | None, seeds: Sequence[int], stepwise: bool = False
) -> dict[str, Any]:
    """Population-based training: the winner's network, and its schedule repeated on fresh seeds.

    Args:
        config: Of the search.
        folder: Its run folder; None keeps the defaults, and chooses nothing but when to stop.
        seeds: Fresh seeds for what was found.
        stepwise: Without a folder, whether the rate falls in steps instead of staying as it is.
    """
    setup, training, section = phase_setup(config, config.training), config.training, config.recombination
    task, data = setup.load()
    opened = TaskData(data.train, data.validation, data.test.unsealed())
    trainer = PhaseTrainer.here(replace(setup, task=task, data=opened), training.chunk_size, training.engine)
    if folder is None:
        steps = training.steps or max(1, len(data.train) // task.batch_size)
        defaults = config.loci().default().values()
        constant = Schedule.constant(defaults, section.generations, steps, task.batch_size, section.optimizer)
        kept = in_steps(constant) if stepwise else constant
        found = _stopped_in_time(kept, section.fom, replay(kept, [config.seed], task, trainer))
    else:
        with search(config, folder) as run:
            found = {**_found(run, "schedule"), "network": run.winner["test"]}
    repeated = replay(Schedule.from_json(found["schedule"]), seeds, task, trainer)
    [(losses, metrics)] = trainer.score(repeated.members, [Examples("test")])
    again = {
        "seeds": list(seeds), "losses": [list(row) for row in repeated.losses],
        "metrics": [list(row) for row in repeated.metrics], "test_losses": losses, "test_metrics": metrics,
    }  # fmt: skip
    return {**found, "replay": again}


def in_steps(constant: Schedule) -> Schedule:
    """A constant schedule whose rate falls as for Keras' ResNet: after 40, 60, 80 and 90 % of it."""
    falls = [fraction_factor(k, len(constant), decay_shape="steps") for k in range(len(constant))]
    values = zip(constant.values, falls, strict=True)
    return replace(constant, values=tuple({**own, "lr": float(own["lr"]) * fall} for own, fall in values))


def _found(run: Run, *more: str) -> dict[str, Any]:
    winner, best = run.winner, [record["best"] for record in run.generations]
    return {**{name: winner[name] for name in ("fom", "born", "steps", *more)}, "by_generation": best}


def _stopped_in_time(constant: Schedule, fom: str, trained: Replay) -> dict[str, Any]:
    """A constant schedule up to the generation that is best on the search's own seed."""
    pairs = zip(trained.losses, trained.metrics, strict=True)
    foms = [figure_of_merit(fom, loss, metric) for (loss,), (metric,) in pairs]
    sound = [k for k, fom in enumerate(foms) if math.isfinite(fom)]
    if not sound:
        raise EvooptError("the training with the default hyperparameters diverged")
    born = min(sound, key=foms.__getitem__)
    schedule = replace(constant, values=constant.values[: born + 1]).to_json()
    return {
        "fom": foms[born], "born": born, "steps": len(constant) * constant.steps, "schedule": schedule,
        "by_generation": foms, "network": None,
    }  # fmt: skip


def find_hyperparameters(config: HpoConfig, folder: Path | None, seeds: Sequence[int]) -> dict[str, Any]:
    """Search for hyperparameters: the winner's, and trainings with them on fresh seeds, to a target if any.

    Those are judged on the first test examples, as many as there are validation examples. Arguments are those
    of `find_schedule`.
    """
    setup = phase_setup(config, config.training)
    task, data = setup.load()
    plan = trial_plan(config)

    def train(values: Mapping[str, Value], seed: int, judged: Split) -> Trial:
        parts = TaskData(data.train, judged, data.test)
        runner = TrialRunner.here(TrialSetup(replace(setup, task=task, data=parts), plan))
        return runner.run([values], seed)[0]

    if folder is None:
        values = config.loci().default().values()
        trial = train(values, config.seed, data.validation)
        own = {"fom": trial.fom, "born": 0, "steps": trial.steps, "by_generation": [trial.fom]}
        found = {**own, "trainings": 1}
    else:
        with search(config, folder) as run:
            values = run.winner["hyperparameters"]
            found = {**_found(run), "trainings": run.winner["evaluations"]}
    test, count = data.test.unsealed().open(), len(data.validation)
    judged, repeated, seconds = Split(test.x[:count], test.y[:count]), [], []
    for seed in seeds:
        started = time.perf_counter()
        repeated.append(train(values, seed, judged))
        seconds.append(round(time.perf_counter() - started, 2))
    again = {
        "seeds": list(seeds), "reached": [bool(trial.reached) for trial in repeated],
        "steps": [trial.steps for trial in repeated],
        "seconds": seconds, plan.fom: [trial.fom for trial in repeated],
        "test_losses": [trial.loss for trial in repeated],
        "test_metrics": [trial.metric for trial in repeated],
    }  # fmt: skip
    network = make_network(task, None, values, config.seed)
    parameters = sum(p.numel() for p in network.parameters())
    return {**found, "hyperparameters": values, "parameters": parameters, "replay": again}
