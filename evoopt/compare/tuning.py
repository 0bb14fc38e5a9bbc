"""Tunes all contenders on all tasks side by side, with the same number of trials each."""

from __future__ import annotations

from collections.abc import Sequence

from evoopt.compare.contender import Contender
from evoopt.compare.protocol import Protocol, check_trials
from evoopt.compare.training_queue import Training, TrainingQueue
from evoopt.compare.tuner import Tuner

Tuners = dict[tuple[str, str], Tuner]
"""By task and contender's name."""


def tune(contenders: Sequence[Contender], protocol: Protocol, queue: TrainingQueue) -> Tuners:
    """Spend every contender's trials on every task, on validation data.

    Raises:
        EvooptError: Too few trials for the schedules there are, or a task that cannot be trained.
    """
    points = check_trials(contenders, protocol)
    by_name = {contender.name: contender for contender in contenders}
    tuners = {
        (task, name): Tuner(contender, protocol.trials, points, protocol.steps, protocol.seed)
        for task in protocol.tasks
        for name, contender in by_name.items()
    }
    while asked := {key: settings for key, tuner in tuners.items() if (settings := tuner.ask())}:
        wanted = [
            Training(task, by_name[name].member(setting, protocol.steps), protocol.plan(seed, "validation"))
            for (task, name), settings in asked.items()
            for setting in settings
            for seed in protocol.seeds_of(task, "validation")
        ]
        results = iter(queue.train(wanted))
        for key, settings in asked.items():
            tuners[key].tell([[next(results) for _ in range(protocol.tuning_seeds)] for _ in settings])
    return tuners
