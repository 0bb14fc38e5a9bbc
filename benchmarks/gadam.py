"""A generation of GADAM: the population on our process pool against one model after another."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from benchmarks.cases import Outcome, Row
from benchmarks.measure import rates, ratio, shown, side_by_side
from benchmarks.problems import Problem, data_of, task_of
from evoopt.execution import Worker, make_executor
from evoopt.execution.process_setup import torch_threads, usable_cores
from evoopt.jobs.phase_trainer import PhaseTrainer
from evoopt.jobs.phase_worker import PhaseSetup, make_phase_worker
from evoopt.systems.gadam.config import GadamSection
from evoopt.systems.gadam.scheme import GadamScheme
from evoopt.systems.model_runs import Sizes
from evoopt.tasks.models import LeNet5
from evoopt.tasks.task import Task, TaskData
from evoopt.training.phase import PhaseEngine

LENET5 = Problem("lenet5", LeNet5, (1, 28, 28), 128, "LeNet-5 on 28x28 images, batch 128")
ENGINES: tuple[PhaseEngine, ...] = ("batched", "sequential")


def problem() -> tuple[Task, TaskData]:
    data = data_of(LENET5)
    return task_of(LENET5, data), data


def make_worker(setup: None) -> Worker:
    return make_phase_worker(PhaseSetup(*problem()))


def one_by_one(data: TaskData, models: int, steps: int) -> None:
    """Plain loops of eager Adam, with all threads, over examples in memory."""
    train, size = data.train, LENET5.batch_size
    for _ in range(models):
        model = LeNet5().train()
        optimizer = torch.optim.Adam(model.parameters())
        for step in range(steps):
            first = step * size % len(train)
            if first == 0:
                order = torch.randperm(len(train))
            index = order[first : first + size]
            optimizer.zero_grad()
            F.cross_entropy(model(train.x[index]), train.y[index]).backward()
            optimizer.step()


class OurGenerations:
    """GADAM on the package's own process pool, in one chunk per process."""

    def __init__(self, members: int, steps: int, engine: PhaseEngine, processes: int) -> None:
        task, data = problem()
        self._executor = make_executor("process", make_worker, None, workers=processes)
        trainer = PhaseTrainer.on(self._executor, -(-members // processes), engine)
        sizes = Sizes(len(data.train), len(data.validation), LENET5.batch_size)
        section = GadamSection(population=members, generations=10**6)
        self._scheme = GadamScheme(task, sizes, section, steps, trainer)

    def generation(self) -> None:
        """Train, score, cross, mutate, train the children, score, select."""
        self._scheme.advance()
        if self._scheme.advance().record is None:
            raise RuntimeError("a generation has two stages")

    def close(self) -> None:
        self._executor.close()


def gadam_generation(members: int = 10, steps: int = 12) -> Outcome:
    """Both phases of a generation; ours also scores, crosses, selects and moves weights about."""
    cores, (_, data) = usable_cores(), problem()
    ours = {engine: OurGenerations(members, steps, engine, cores) for engine in ENGINES}
    work = 2 * members * steps
    try:
        with torch_threads(cores):
            times = side_by_side(
                {
                    "one by one": (lambda: one_by_one(data, 2 * members, steps), work),
                    **{engine: (own.generation, work) for engine, own in ours.items()},
                }
            )
    finally:
        for own in ours.values():
            own.close()
    rows, record = [], {}
    for engine in ENGINES:
        found = record[engine] = ratio(times, "one by one", engine)
        what = f"GADAM, a generation of {members} {LENET5.title}, {engine} / one by one with all threads"
        rows.append(Row(what, shown(found), ">= 2x" if engine == ENGINES[0] else ""))
    return Outcome(rows, {"rates": rates(times), "ratio": record})
