"""Our side: chunks of rules on the package's own process pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.problems import PROBLEMS, data_of, task_of
from evoopt.execution import make_executor
from evoopt.optim import UpdateRule
from evoopt.training.engine import train
from evoopt.training.plan import TrainingPlan, TrainingResult

assert torch, "loaded with this module, so that the worker's thread limit holds"


@dataclass(frozen=True)
class Job:
    problem: str
    rules: tuple[UpdateRule, ...]
    steps: int
    engine: str


def make_worker(setup: None) -> Callable[[Job], list[TrainingResult]]:
    tasks: dict[str, Any] = {}

    def work(job: Job) -> list[TrainingResult]:
        problem = PROBLEMS[job.problem]
        if job.problem not in tasks:
            data = data_of(problem)
            tasks[job.problem] = task_of(problem, data), data
        task, data = tasks[job.problem]
        plan = TrainingPlan(job.steps, seed=0, batch_size=problem.batch_size)
        return train(task, data, job.rules, plan, engine=job.engine)  # type: ignore[arg-type]

    return work


class OurPool:
    """Trains a population cut into one chunk per worker."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._executor = make_executor("process", make_worker, None, workers=workers)

    def train(self, name: str, rules: Sequence[UpdateRule], steps: int, engine: str) -> None:
        chunks = [
            Job(name, tuple(rules[k :: self._workers]), steps, engine)
            for k in range(min(self._workers, len(rules)))
        ]
        for result in self._executor.run(chunks):
            if result.error or any(r.outcome == "failed" for r in result.value or []):
                raise RuntimeError(result.error or result.value)

    def close(self) -> None:
        self._executor.close()
