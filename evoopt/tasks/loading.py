"""Loading of a task's data with checks that turn a faulty task into one clear line."""

from __future__ import annotations

import torch
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.tasks.files import one_line
from evoopt.tasks.targets import check_targets
from evoopt.tasks.task import DataOptions, SealedSplit, Split, Task, TaskData


def load_task_data(task: Task, options: DataOptions) -> TaskData:
    """Load a task's data and check that its parts are sound and that its model accepts them.

    The test part is sealed or open as the options say, whatever the task's own loader did.

    Raises:
        EvooptError: Data that is missing, unreadable, inconsistent or does not fit the model.
    """
    try:
        data = task.load(options)
    except EvooptError as error:
        raise EvooptError(f"task {task.name!r}: {error}") from error
    except Exception as error:  # a person's own code
        raise EvooptError(f"task {task.name!r}: loading its data raised {one_line(error)}") from error
    if not isinstance(data, TaskData):
        raise EvooptError(
            f"task {task.name!r}: load() returned {type(data).__name__}, expected evoopt.tasks.TaskData"
        )
    test = data.test._split  # checked, never scored
    parts = {"training": data.train, "validation": data.validation, "test": test}
    for name, part in parts.items():
        may_be_empty = name == "validation" and options.validation_fraction == 0
        _check_part(f"task {task.name!r}: the {name} part", part, may_be_empty)
    _check_model(task, parts)
    return TaskData(data.train, data.validation, SealedSplit(test, unsealed=options.unseal_test))


def _check_part(what: str, part: Split, may_be_empty: bool) -> None:
    if len(part.x) != len(part.y):
        raise EvooptError(f"{what} has {len(part.x)} inputs but {len(part.y)} targets")
    if len(part) == 0 and not may_be_empty:
        raise EvooptError(f"{what} is empty")
    for kind, values in (("inputs", part.x), ("targets", part.y)):
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise EvooptError(f"{what} has {kind} that are NaN or infinite")


def _check_model(task: Task, parts: dict[str, Split]) -> None:
    x, y = parts["training"].x[:2].clone(), parts["training"].y[:2].clone()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            outputs: Tensor = task.make_model().eval()(x)
            for name, part in parts.items():
                check_targets(f"task {task.name!r}: the {name} part", task.loss, outputs, part.y)
            scores = {"loss": task.loss(outputs, y), "metric": task.metric(outputs, y)}
    except EvooptError:
        raise
    except Exception as error:  # a person's own model, loss and metric
        raise EvooptError(
            f"task {task.name!r}: its model, loss or metric fails on its own data: {one_line(error)}"
        ) from error
    for name, score in scores.items():
        if not isinstance(score, Tensor) or score.ndim != 0:
            actual = f"shape {tuple(score.shape)}" if isinstance(score, Tensor) else type(score).__name__
            raise EvooptError(f"task {task.name!r}: its {name} must be a 0-dim tensor, found {actual}")
