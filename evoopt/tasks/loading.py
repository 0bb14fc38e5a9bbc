"""Loading of a task's data with checks that turn a faulty task into one clear line."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError, one_line
from evoopt.tasks.model_checks import floating_dtype, fresh_model, outputs_of
from evoopt.tasks.targets import check_targets
from evoopt.tasks.task import DataOptions, SealedSplit, Split, Task, TaskData

_EXAMPLES = 4


def load_task_data(task: Task, options: DataOptions, model: nn.Module | None = None) -> TaskData:
    """Load a task's data and check that its parts are sound and that its model accepts them.

    Floating-point inputs and targets get the dtype of the model's parameters. The test part is sealed or open
    as the options say, whatever the task's own loader did.

    Args:
        task: The task.
        options: Of its data.
        model: What `fresh_model` made of the task's model, if it did.

    Raises:
        EvooptError: Data that is missing, unreadable, inconsistent or does not fit the model.
    """
    what = f"task {task.name!r}"
    try:
        data = task.load(options)
    except EvooptError as error:
        raise EvooptError(f"{what}: {error}") from error
    except Exception as error:  # a person's own code
        raise EvooptError(f"{what}: loading its data raised {one_line(error)}") from error
    if not isinstance(data, TaskData):
        raise EvooptError(f"{what}: load() returned {type(data).__name__}, expected evoopt.tasks.TaskData")
    for name, part, kind in (
        ("train", data.train, Split), ("validation", data.validation, Split), ("test", data.test, SealedSplit)
    ):  # fmt: skip
        if not isinstance(part, kind):
            raise EvooptError(
                f"{what}: TaskData.{name} must be an evoopt.tasks.{kind.__name__}, not {type(part).__name__}"
            )
    parts = {"training": data.train, "validation": data.validation, "test": data.test._split}
    for name, part in parts.items():
        may_be_empty = name == "validation" and options.validation_fraction == 0
        _check_part(f"{what}: the {name} part", part, may_be_empty)
    try:
        model = fresh_model(task.make_model, "make_model") if model is None else model
    except EvooptError as error:
        raise EvooptError(f"{what}: {error}") from error
    parts = {
        name: _with_classes(part.to(part.x.device, floating_dtype(model))) for name, part in parts.items()
    }
    for name, part in parts.items():
        if len(part):
            _check_fit(f"{what}: the {name} part", task, model, part)
    test = SealedSplit(parts["test"], unsealed=options.unseal_test)  # checked, never scored
    return TaskData(parts["training"], parts["validation"], test)


def _check_part(what: str, part: Split, may_be_empty: bool) -> None:
    for kind, values in (("inputs", part.x), ("targets", part.y)):
        if not isinstance(values, Tensor):
            raise EvooptError(f"{what} has {kind} of type {type(values).__name__}, expected torch.Tensor")
    if len(part.x) != len(part.y):
        raise EvooptError(f"{what} has {len(part.x)} inputs but {len(part.y)} targets")
    if len(part) == 0 and not may_be_empty:
        raise EvooptError(f"{what} is empty")
    for kind, values in (("inputs", part.x), ("targets", part.y)):
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise EvooptError(f"{what} has {kind} that are NaN or infinite")


def _with_classes(part: Split) -> Split:
    """The same with integer targets as int64, the one integer type that torch's losses take."""
    integer = not (part.y.is_floating_point() or part.y.is_complex() or part.y.dtype == torch.bool)
    return replace(part, y=part.y.long()) if integer else part


def _check_fit(what: str, task: Task, model: nn.Module, part: Split) -> None:
    """Each part is run through the model: it may have other shapes than the training part."""
    some = part.part(slice(0, _EXAMPLES))
    try:
        outputs = outputs_of(model, some.x)
    except EvooptError as error:
        raise EvooptError(f"{what} does not fit the model: {error}") from error
    check_targets(what, task.loss, outputs, part.y)
    for name, function in (("loss", task.loss), ("metric", task.metric)):
        try:
            _check_score(function, outputs, some.y)
        except EvooptError as error:
            raise EvooptError(f"{what}: the {name} {error}") from error


def _check_score(function: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, targets: Tensor) -> None:
    """A loss or metric is one number, and pairs every output with its own target."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            score = function(outputs.clone(), targets.clone())
        except Exception as error:  # a person's own function
            shapes = f"outputs {list(outputs.shape)} and targets {list(targets.shape)}"
            raise EvooptError(f"fails on {shapes}: {one_line(error)}") from error
    if not isinstance(score, Tensor) or score.ndim != 0:
        actual = f"shape {tuple(score.shape)}" if isinstance(score, Tensor) else type(score).__name__
        raise EvooptError(f"must be a 0-dim tensor, found {actual}")
    broadcasts = any("target size" in str(one.message) for one in said)
    if outputs.shape != targets.shape and outputs.numel() == targets.numel() and not broadcasts:
        try:
            paired = function(outputs.clone(), targets.clone().view_as(outputs))
        except Exception:  # it asks for targets of this very shape
            return
        broadcasts = not torch.allclose(score.float(), paired.float(), rtol=1e-4, equal_nan=True)
    if broadcasts:
        raise EvooptError(
            f"broadcasts targets {list(targets.shape)} against outputs {list(outputs.shape)}, so that every "
            "output meets every target; give the targets the shape of the outputs"
        )
