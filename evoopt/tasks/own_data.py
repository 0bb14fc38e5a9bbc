"""A person's own model, loss and data as a task, with the checks that every task gets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from evoopt.errors import EvooptError
from evoopt.tasks.data_reading import is_data_set, read_pairs
from evoopt.tasks.loading import load_task_data
from evoopt.tasks.model_checks import floating_dtype, fresh_model
from evoopt.tasks.own_model import as_loss_wants, check_function, check_inputs
from evoopt.tasks.splitting import split_indices
from evoopt.tasks.task import DataOptions, SealedSplit, Split, Task, TaskData, accuracy
from evoopt.tasks.tensors import as_targets, as_tensor

OwnData = Split | tuple[Any, Any] | list[Any] | Dataset[Any]
"""Examples: a `Split`; a pair ``(x, y)`` of tensors, arrays, tables or lists; or a data set of pairs, of a
known length. Nothing is written to them."""


def as_split(data: OwnData, name: str, dtype: torch.dtype | None = None) -> Split:
    """Examples as two tensors in memory.

    Args:
        data: See `OwnData`.
        name: What to call it in messages.
        dtype: What floating-point numbers become, by default what they are; integer targets become int64.

    Raises:
        EvooptError: Nothing in it, another number of inputs than of targets, or not such data.
    """
    if isinstance(data, Split):
        data = (data.x, data.y)
    if isinstance(data, (tuple, list)) and len(data) == 2:
        x, y = as_tensor(data[0], f"{name}: the inputs"), as_targets(data[1], f"{name}: the targets")
    elif is_data_set(data):
        x, y = read_pairs(data, name)
    else:
        raise EvooptError(
            f"{name} must be a pair (inputs, targets) of tensors or arrays, or a data set of such pairs, "
            f"not of type {type(data).__name__}"
        )
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        sizes = f"inputs {tuple(x.shape)}, targets {tuple(y.shape)}"
        raise EvooptError(f"{name} needs one target for each input, found {sizes}")
    if len(x) == 0:
        raise EvooptError(f"{name} is empty")
    x = x.to(dtype) if x.is_floating_point() else x
    return Split(x, y.to(dtype) if y.is_floating_point() else y)


def own_task(
    model_fn: Callable[[], nn.Module],
    loss_fn: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    metric: Callable[[Tensor, Tensor], Tensor] | None = None,
    train: OwnData = (),  # type: ignore[assignment]
    validation: OwnData | None = None,
    *,
    batch_size: int = 128,
    validation_fraction: float = 0.2,
    seed: int = 0,
) -> tuple[Task, TaskData]:
    """Make a task of one's own model and data.

    Args:
        model_fn: Makes a fresh model. Its dtype is that of floating-point inputs and targets.
        loss_fn: Mean loss of ``(outputs, targets)``. Integer targets become floating point where it does
            not take them for classes.
        metric: Score of ``(outputs, targets)``, higher is better; by default accuracy where targets are class
            indices ``[n]``, else NaN.
        train: Training examples.
        validation: Validation examples; by default a part of the training examples.
        batch_size: Minibatch size, cut down to the number of training examples.
        validation_fraction: Which part.
        seed: Decides which examples that are.

    Returns:
        The task, and its data (with the validation examples, or if there are none all, as test part).

    Raises:
        EvooptError: Data, model and loss that do not fit each other; the message says how.
    """
    check_function("loss_fn", loss_fn)
    if metric is not None:
        check_function("metric", metric)
    model = fresh_model(model_fn, "model_fn")
    dtype = floating_dtype(model)
    whole = as_split(train, "training data", dtype)
    check_inputs(model, whole.x, "training data")
    whole = as_loss_wants(model, loss_fn, whole)
    options = DataOptions(seed=seed, validation_fraction=validation_fraction)
    if validation is None:
        ours, theirs = split_indices(whole.y, options)
        whole, held_out = Split(whole.x[ours], whole.y[ours]), Split(whole.x[theirs], whole.y[theirs])
    else:
        held_out = _alike(as_split(validation, "validation data", dtype), whole)
    if metric is None:
        classes = whole.y.ndim == 1 and not whole.y.is_floating_point()
        metric = accuracy if classes else no_metric
    data = TaskData(whole, held_out, SealedSplit(held_out if len(held_out) else whole))
    task = Task("own", model_fn, partial(_given, data), batch_size, loss_fn, metric)
    return task, load_task_data(task, options, model)


def _alike(validation: Split, train: Split) -> Split:
    """Validation examples whose whole numbers are floating point where the training examples are."""
    pairs = (("inputs", validation.x, train.x), ("targets", validation.y, train.y))
    for kind, ours, theirs in pairs:
        if ours.is_floating_point() and not theirs.is_floating_point():
            raise EvooptError(f"the {kind} are integers in training data, floating point in validation data")
    x, y = (ours.to(theirs.dtype) if theirs.is_floating_point() else ours for _, ours, theirs in pairs)
    return Split(x, y)


def _given(data: TaskData, options: DataOptions) -> TaskData:
    return data


def no_metric(outputs: Tensor, targets: Tensor) -> Tensor:
    """NaN, where nothing is to be measured."""
    return outputs.new_full((), float("nan"))
