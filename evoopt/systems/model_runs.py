"""What the individual types whose models evolve have in common: workers, checkpoints, the end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from evoopt.config import RunConfig, TrainingSection, WorkSection
from evoopt.execution.process_setup import torch_threads
from evoopt.jobs.phase_trainer import PhaseTrainer
from evoopt.jobs.phase_worker import PhaseChunk, PhaseResult, PhaseSetup, make_phase_worker
from evoopt.runs.finished_chunks import FinishedChunks, states_folder
from evoopt.runs.run import MODEL_FILE, Run
from evoopt.tasks import DataOptions
from evoopt.tasks.task import Task, TaskData
from evoopt.training.sequential import evaluate
from evoopt.training.weights_file import write_tensors


@dataclass(frozen=True)
class Sizes:
    """Examples in the parts of a task's data, and per minibatch."""

    train: int
    validation: int
    batch: int

    @classmethod
    def of(cls, task: Task, data: TaskData, batch_size: int | None = None) -> Sizes:
        """Those of loaded data; the task's own minibatch unless another is given."""
        return cls(len(data.train), len(data.validation), batch_size or task.batch_size)


def phase_setup(config: RunConfig, work: WorkSection) -> PhaseSetup:
    """The task of a run, how to load its data, and the device."""
    place = config.execution.place(work.threads_per_worker)
    options = DataOptions(
        data_dir=place.data_dir,
        train_size=work.train_size,
        validation_fraction=work.validation_fraction,
        seed=config.seed,
    )
    return PhaseSetup(work.task, options, place.device)


@contextmanager
def training_phases(
    config: RunConfig, training: TrainingSection, setup: PhaseSetup, run: Run | None = None
) -> Iterator[PhaseTrainer]:
    """What trains and scores members wherever the run's work is done.

    Args:
        config: The configuration in force.
        training: Its section on trainings.
        setup: What workers are created from.
        run: Keeps what the chunks of the generation in progress gave; None keeps nothing.
    """
    place = config.execution.place(training.threads_per_worker)
    memory: FinishedChunks[PhaseChunk, PhaseResult] | None = None
    if run is not None:
        memory = FinishedChunks(run, PhaseResult.to_state, PhaseResult.from_state, PhaseResult.numbers)
    states = None if run is None else states_folder(run, place)
    with place.start(make_phase_worker, setup) as executor:
        yield PhaseTrainer.on(executor, training.chunk_size, training.engine, place.exchange, memory, states)


def name_winner(run: Run, model: nn.Module, about: dict[str, Any], task: Task, data: TaskData) -> None:
    """Write the best model to the run folder, score it, and finish the run.

    The test data is opened here and nowhere before: nothing is chosen by it.
    """
    tensors = {name: t.detach().cpu() for name, t in model.state_dict().items()}
    write_tensors(run.folder / MODEL_FILE, tensors, "evoopt.model")
    run.store.save_winner(
        {
            **about,
            **scores(model, task, data),
            "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        }
    )
    run.write_result()


def scores(model: nn.Module, task: Task, data: TaskData) -> dict[str, dict[str, Any]]:
    """Loss and metric of a model on validation and test data, as JSON."""
    by_part = {}
    for name, split in (("validation", data.validation), ("test", data.test.unsealed().open())):
        with torch_threads(1):  # sums of floats depend on their number, which is the machine's
            pair = evaluate(task, model, split) if len(split) else (math.nan, math.nan)
        loss, metric = map(if_finite, pair)
        by_part[name] = {"loss": loss, "metric": metric, "examples": len(split)}
    return by_part


def if_finite(value: float) -> float | None:
    """A number as JSON has it."""
    return value if math.isfinite(value) else None


def named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those of a checkpoint's tensors whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
