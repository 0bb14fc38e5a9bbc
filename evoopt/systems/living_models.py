"""What the individual types whose models live on have in common: data, workers, checkpoints, the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from evoopt.config import ExecutionSection, TrainingSection
from evoopt.evolution.phase_trainer import PhaseSetup, PhaseTrainer, make_phase_worker
from evoopt.evolution.stages import StagedScheme, evolve_models
from evoopt.execution import make_executor
from evoopt.runs.run import MODEL_FILE, Run
from evoopt.runs.stages import RunStages
from evoopt.systems.progress import StageProgress
from evoopt.tasks import DataOptions, get_task, load_task_data
from evoopt.tasks.task import Task, TaskData
from evoopt.training.sequential import evaluate
from evoopt.training.weights_file import write_tensors


class ModelScheme(StagedScheme, Protocol):
    """An evolution that ends with a model."""

    def best_model(self) -> nn.Module:
        """The winner."""

    def winner(self) -> dict[str, Any]:
        """About the winner, as JSON."""


def data_options(training: TrainingSection, execution: ExecutionSection, seed: int) -> DataOptions:
    """How to load the data of a run."""
    return DataOptions(
        data_dir=Path(execution.data_dir) if execution.data_dir else None,
        train_size=training.train_size,
        validation_fraction=training.validation_fraction,
        seed=seed,
    )


def evolve_run(
    run: Run,
    training: TrainingSection,
    execution: ExecutionSection,
    options: DataOptions,
    make: Callable[[Task, TaskData, PhaseTrainer], ModelScheme],
    stages: int,
    quiet: bool,
) -> None:
    """Evolve the models of a run to the end; keep the best one and its score on test data.

    Args:
        run: Open for writing; an unfinished one goes on from its checkpoint.
        training: Task, engine, chunks.
        execution: Where to train.
        options: How to load the data.
        make: Makes the scheme.
        stages: Expected stages, for the progress bar.
        quiet: Show no progress bar.
    """
    task = get_task(training.task)
    data = load_task_data(task, options)
    executor = make_executor(
        execution.executor,
        make_phase_worker,
        PhaseSetup(training.task, options, execution.device),
        workers=execution.workers,
        threads_per_worker=training.threads_per_worker,
        timeout_s=execution.timeout_s,
    )
    record = RunStages(run)
    progress = StageProgress(stages, record.done, quiet)
    try:
        trainer = PhaseTrainer.on(executor, training.chunk_size, training.engine)
        scheme = make(task, data, trainer)
        evolve_models(scheme, record, progress.stage_done)
    finally:
        progress.close()
        executor.close()
    name_winner(run, scheme, task, data)


def name_winner(run: Run, scheme: ModelScheme, task: Task, data: TaskData) -> None:
    """Write the best model to the run folder, score it, and finish the run.

    The test data is opened here and nowhere before: nothing is chosen by it.
    """
    model = scheme.best_model()
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    write_tensors(run.folder / MODEL_FILE, tensors, "evoopt.model")
    loss, metric = evaluate(task, model, data.validation) if len(data.validation) else (None, None)
    test = data.test.unsealed().open()
    test_loss, test_metric = evaluate(task, model, test)
    run.store.save_winner(
        {
            **scheme.winner(),
            "validation": {"loss": loss, "metric": metric, "examples": len(data.validation)},
            "test": {"loss": test_loss, "metric": test_metric, "examples": len(test)},
            "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        }
    )
    run.write_result()
