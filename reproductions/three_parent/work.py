"""What a unit does: search, and train from scratch with what was found, on fresh seeds and to be tested."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evoopt.config import RecombinationConfig
from evoopt.errors import EvooptError
from evoopt.evolution.phase_trainer import Examples, PhaseTrainer
from evoopt.evolution.schedule import Replay, Schedule, replay
from evoopt.evolution.trial import Trial, TrialPlan, figure_of_merit
from evoopt.evolution.trial_runner import TrialRunner, TrialSetup, make_network
from evoopt.genomes.loci import Value
from evoopt.runs.run import CONFIG_FILE, Run
from evoopt.runs.stages import WEIGHTS_FOLDER
from evoopt.systems import recombination
from evoopt.systems.living_models import phase_setup
from evoopt.tasks.task import Split, TaskData


@dataclass(frozen=True)
class Work:
    """What is wanted.

    Attributes:
        config: Of the search.
        folder: Its run folder; None keeps the defaults, and chooses nothing but when to stop.
        seeds: Fresh seeds for what was found.
    """

    config: RecombinationConfig
    folder: Path | None
    seeds: Sequence[int]


def search(config: RecombinationConfig, folder: Path) -> Run:
    """Search in a run folder, or go on there; returns the finished run, which keeps no checkpoint."""
    if not (folder / CONFIG_FILE).exists():
        shutil.rmtree(folder, ignore_errors=True)  # what an interruption left of its making
        Run.create(folder, config).close()
    with Run(folder, writable=True) as run:
        recombination.search(run, config, quiet=True)
    shutil.rmtree(folder / WEIGHTS_FOLDER, ignore_errors=True)
    return Run(folder)


def find_schedule(work: Work) -> dict[str, Any]:
    """Population-based training: the winner's network, and its schedule repeated on fresh seeds."""
    config, setup = work.config, phase_setup(work.config)
    training = config.training
    task, data = setup.load()
    opened = TaskData(data.train, data.validation, data.test.unsealed())
    trainer = PhaseTrainer.here(replace(setup, task=task, data=opened), training.chunk_size, training.engine)
    if work.folder is None:
        steps = training.steps or max(1, len(data.train) // task.batch_size)
        defaults = config.loci().default().values()
        constant = Schedule.constant(
            defaults, config.recombination.generations, steps, task.batch_size, config.recombination.optimizer
        )
        found = _stopped_in_time(constant, config, lambda: replay(constant, [config.seed], task, trainer))
    else:
        with search(config, work.folder) as run:
            winner, records = run.winner, run.generations
        found = {
            **{name: winner[name] for name in ("fom", "born", "steps", "schedule")},
            "by_generation": [record["best"] for record in records],
            "network": winner["test"],
        }
    repeated = replay(Schedule.from_json(found["schedule"]), work.seeds, task, trainer)
    [(losses, metrics)] = trainer.score(repeated.members, [Examples("test")])
    again = {
        "seeds": list(work.seeds),
        "losses": [list(row) for row in repeated.losses],
        "metrics": [list(row) for row in repeated.metrics],
        "test_losses": losses,
        "test_metrics": metrics,
    }
    return {**found, "replay": again}


def _stopped_in_time(
    constant: Schedule, config: RecombinationConfig, train: Callable[[], Replay]
) -> dict[str, Any]:
    """A constant schedule up to the generation that is best on the search's own seed."""
    trained = train()
    foms = [
        figure_of_merit(config.recombination.fom, loss, metric)
        for (loss,), (metric,) in zip(trained.losses, trained.metrics, strict=True)
    ]
    sound = [k for k, fom in enumerate(foms) if math.isfinite(fom)]
    if not sound:
        raise EvooptError("the training with the default hyperparameters diverged")
    born = min(sound, key=foms.__getitem__)
    return {
        "fom": foms[born],
        "born": born,
        "steps": len(constant) * constant.steps,
        "schedule": replace(constant, values=constant.values[: born + 1]).to_json(),
        "by_generation": foms,
        "network": None,
    }


def find_hyperparameters(work: Work) -> dict[str, Any]:
    """Search for hyperparameters: the winner's, and trainings to the target with them on fresh seeds.

    Those are judged on the first test images, as many as there are validation images.
    """
    config, setup = work.config, phase_setup(work.config)
    task, data = setup.load()
    plan = _plan(config, task.batch_size)

    def train(values: Mapping[str, Value], seed: int, judged: Split) -> Trial:
        parts = TaskData(data.train, judged, data.test)
        [trial] = TrialRunner.here(TrialSetup(replace(setup, task=task, data=parts), plan)).run(
            [values], seed
        )
        return trial

    if work.folder is None:
        values = config.loci().default().values()
        trial = train(values, config.seed, data.validation)
        found = {
            "fom": trial.fom,
            "born": 0,
            "steps": trial.steps,
            "trainings": 1,
            "by_generation": [trial.fom],
        }
    else:
        with search(config, work.folder) as run:
            winner, records = run.winner, run.generations
        values = winner["hyperparameters"]
        found = {
            **{name: winner[name] for name in ("fom", "born", "steps")},
            "trainings": winner["evaluations"],
            "by_generation": [record["best"] for record in records],
        }
    test, count = data.test.unsealed().open(), len(data.validation)
    judged, repeated, seconds = Split(test.x[:count], test.y[:count]), [], []
    for seed in work.seeds:
        started = time.perf_counter()
        repeated.append(train(values, seed, judged))
        seconds.append(round(time.perf_counter() - started, 2))
    again = {
        "seeds": list(work.seeds),
        "steps": [trial.fom for trial in repeated],
        "reached": [bool(trial.reached) for trial in repeated],
        "seconds": seconds,
    }
    network = make_network(task, None, values, config.seed)
    parameters = sum(p.numel() for p in network.parameters())
    return {**found, "hyperparameters": values, "parameters": parameters, "replay": again}


def _plan(config: RecombinationConfig, batch_size: int) -> TrialPlan:
    section, training = config.recombination, config.training
    assert training.steps is not None, "the configuration was checked"
    return TrialPlan(
        section.fom, training.steps, training.batch_size or batch_size, section.target, section.every,
        section.optimizer, training.engine,
    )  # fmt: skip
