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
from evoopt.tasks.loading import load_task_data
from evoopt.tasks.splitting import split_indices
from evoopt.tasks.task import DataOptions, SealedSplit, Split, Task, TaskData, accuracy

OwnData = Split | tuple[Any, Any] | Dataset[Any]
"""Examples: a `Split`, a pair of tensors or arrays ``(x, y)``, or a data set of pairs of a known length."""


def as_split(data: OwnData, name: str = "data") -> Split:
    """Examples as two tensors in memory.

    Args:
        data: See `OwnData`.
        name: What to call it in messages.

    Raises:
        EvooptError: Nothing in it, another number of inputs than of targets, or not such data.
    """
    if isinstance(data, Dataset):
        data = _collected(data, name)
    if isinstance(data, Split):
        x, y = data.x, data.y
    else:
        try:
            x, y = (torch.as_tensor(part) for part in data)
        except (TypeError, ValueError):
            raise EvooptError(
                f"{name} must be (inputs, targets) as tensors or arrays, or a data set of such pairs"
            ) from None
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        sizes = f"inputs {tuple(x.shape)}, targets {tuple(y.shape)}"
        raise EvooptError(f"{name} needs one target for each input, found {sizes}")
    if len(x) == 0:
        raise EvooptError(f"{name} is empty")
    return Split(x, y if y.is_floating_point() else y.long())


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
        model_fn: Makes a fresh model.
        loss_fn: Mean loss of ``(outputs, targets)``.
        metric: Score of ``(outputs, targets)``, higher is better; by default accuracy where targets are class
            indices ``[n]``, else NaN.
        train: Training examples.
        validation: Validation examples; by default a part of the training examples.
        batch_size: Minibatch size, cut down to the number of training examples.
        validation_fraction: Which part.
        seed: Decides which examples that are.

    Returns:
        The task, and its data (with the validation examples as test part).

    Raises:
        EvooptError: Data, model and loss that do not fit each other; the message says how.
    """
    whole = as_split(train, "training data")
    if validation is None:
        options = DataOptions(seed=seed, validation_fraction=validation_fraction)
        ours, theirs = split_indices(whole.y, options)
        whole, held_out = Split(whole.x[ours], whole.y[ours]), Split(whole.x[theirs], whole.y[theirs])
    else:
        held_out = as_split(validation, "validation data")
    if metric is None:
        classes = whole.y.ndim == 1 and not whole.y.is_floating_point()
        metric = accuracy if classes else _no_metric
    data = TaskData(whole, held_out, SealedSplit(held_out))
    task = Task("own", model_fn, partial(_given, data), batch_size, loss_fn, metric)
    return task, load_task_data(task, DataOptions())


def _given(data: TaskData, options: DataOptions) -> TaskData:
    return data


def _no_metric(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.new_full((), float("nan"))


def _collected(data: Dataset[Any], name: str) -> tuple[Tensor, Tensor]:
    try:
        pairs = [data[k] for k in range(len(data))]  # type: ignore[arg-type]
        x, y = zip(*pairs, strict=True) if pairs else ((), ())
        return _stack(x), _stack(y)
    except (TypeError, ValueError, RuntimeError) as error:
        raise EvooptError(f"{name}: its examples do not stack to tensors: {error}") from None


def _stack(values: tuple[Any, ...]) -> Tensor:
    return torch.stack([torch.as_tensor(value) for value in values]) if values else torch.empty(0)
