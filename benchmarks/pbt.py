"""Population-based training: members as one program against a pool with a checkpoint file per member."""

from __future__ import annotations

import multiprocessing
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.cases import Outcome, Row
from benchmarks.measure import rates, ratio, shown, side_by_side
from evoopt.evolution.stages import Stage, State, evolve
from evoopt.execution import make_executor
from evoopt.execution.process_setup import usable_cores
from evoopt.jobs.phase_trainer import PhaseTrainer
from evoopt.jobs.phase_worker import PhaseSetup, make_phase_worker
from evoopt.systems.hyperparameters.config import PbtSection
from evoopt.systems.hyperparameters.generations import HyperparameterGenerations
from evoopt.systems.hyperparameters.hyperparameter_space import HyperparameterSpace
from evoopt.systems.hyperparameters.pbt_scheme import PbtScheme
from evoopt.systems.model_runs import Sizes
from evoopt.tasks import DataOptions, TaskData, get_task, load_task_data
from evoopt.training.weights_file import write_tensors

OPTIONS, BATCH = DataOptions(), 32
SPACE = HyperparameterSpace.parse(
    {
        "lr": {"min": 1e-4, "max": 1e-1, "default": 1e-3, "scale": "log"},
        "beta1": {"min": 0.5, "max": 0.99, "default": 0.9},
        "weight_decay": {"min": 1e-5, "max": 1.0, "default": 1e-2, "scale": "log"},
    }
)


@cache
def data() -> TaskData:
    return load_task_data(get_task("digits"), OPTIONS)


def train_member(job: tuple[str, str, str, dict[str, Any], int]) -> float:
    """One epoch of one member: read alpha's checkpoint, train, score, write its own."""
    task, source, target, values, seed = job
    train, validation = data().train, data().validation
    torch.manual_seed(seed)
    model = get_task(task).make_model()
    optimizer = torch.optim.AdamW(model.parameters())
    if source:
        saved = torch.load(source, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    for group in optimizer.param_groups:
        group.update(lr=values["lr"], betas=(values["beta1"], 0.999), weight_decay=values["weight_decay"])
    model.train()
    for index in torch.split(torch.randperm(len(train)), BATCH)[:-1]:
        optimizer.zero_grad()
        F.cross_entropy(model(train.x[index]), train.y[index]).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        hits = model(validation.x).argmax(dim=1) == validation.y
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, target)
    return 1 - float(hits.float().mean())


def _one_thread() -> None:
    torch.set_num_threads(1)


class FilePool:
    """The usual way: a process pool, one member per job, a checkpoint file per member."""

    def __init__(self, task: str, processes: int) -> None:
        self._task = task
        self._pool = multiprocessing.get_context("spawn").Pool(processes, initializer=_one_thread)

    def run(self, section: PbtSection) -> None:
        with tempfile.TemporaryDirectory() as folder:
            generations = HyperparameterGenerations.of(section, SPACE)
            sources = [""] * section.population
            for number in range(section.generations):
                targets = [str(Path(folder) / f"{ind.id}.pt") for ind in generations.population]
                values = [ind.genome.values() for ind in generations.population]
                jobs = [(self._task, *job, number) for job in zip(sources, targets, values, strict=True)]
                generations.score(self._pool.map(train_member, jobs, chunksize=1))
                sources = [targets[alpha] for alpha in generations.breed()]

    def close(self) -> None:
        self._pool.terminate()


class Checkpoints:
    """Writes what a run folder keeps after every generation: living weights and moments in one file."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def load_stage(self) -> State | None:
        return None

    def save_stage(self, stage: Stage, state: State) -> None:
        write_tensors(self._folder / "members.safetensors", state[1], "benchmark")


class OurPbt:
    """The same on the package's own process pool, in one chunk per process."""

    def __init__(self, task: str, processes: int, members: int) -> None:
        self._task, setup = get_task(task), PhaseSetup(task, OPTIONS)
        self._executor = make_executor("process", make_phase_worker, setup, workers=processes)
        self._trainer = PhaseTrainer.on(self._executor, chunk_size=-(-members // processes))

    def run(self, section: PbtSection) -> float:
        sizes = Sizes(len(data().train), len(data().validation), BATCH)
        scheme = PbtScheme(self._task, sizes, section, SPACE, self._trainer)
        with tempfile.TemporaryDirectory() as folder:
            history = evolve(scheme, Checkpoints(folder))
        return float(history[-1]["best"])

    def close(self) -> None:
        self._executor.close()


def pbt_against_files(task: str, target: str, members: int = 20, epochs: int = 5) -> Outcome:
    """Three-parent population-based training on digits, the same number of processes on both sides."""
    cores = usable_cores()
    section = PbtSection(population=members, generations=epochs)
    files, ours = FilePool(task, cores), OurPbt(task, cores, members)
    work = members * epochs * (len(data().train) // BATCH)
    try:
        times = side_by_side(
            {"files": (lambda: files.run(section), work), "ours": (lambda: _checked(ours, section), work)}
        )
    finally:
        files.close()
        ours.close()
    found = ratio(times, "files", "ours")
    return Outcome(
        [Row(f"PBT of {members} members on {task} / a pool with checkpoint files", shown(found), target)],
        {"rates": rates(times), "ratio": found},
    )


def _checked(ours: OurPbt, section: PbtSection) -> None:
    if not np.isfinite(ours.run(section)):
        raise RuntimeError("the population diverged")


def pbt() -> Outcome:
    """The digits CNN, and the MLP, whose steps are less arithmetic and more overhead."""
    parts = {"digits_cnn": ">= 4x", "digits": ""}
    found = {task: pbt_against_files(task, target) for task, target in parts.items()}
    return Outcome(
        [row for outcome in found.values() for row in outcome.rows],
        {task: outcome.record for task, outcome in found.items()},
    )
