from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from evoopt.errors import EvooptError, SealedTestError
from evoopt.tasks import DataOptions, SealedSplit, Split, Task, TaskData, load_task_data, models, split_data


def part(n: int = 6, classes: int = 3) -> Split:
    return Split(torch.rand(n, 4), torch.arange(n) % classes)


def a_task(**changes: Any) -> Task:
    data = TaskData(part(), part(), SealedSplit(part(), unsealed=True))
    task = Task("mine", lambda: models.MLP(4, 5, 3), lambda options: data)
    return replace(task, **changes)


def with_parts(**parts: Split | SealedSplit) -> Callable[[DataOptions], TaskData]:
    data = TaskData(**{"train": part(), "validation": part(), "test": SealedSplit(part()), **parts})  # type: ignore[arg-type]
    return lambda options: data


def raising(*arguments: object) -> Any:
    raise KeyError("line one\nline two")


def with_value(value: float) -> Split:
    split = part()
    split.x[2, 1] = value
    return split


def scalar_as_float(outputs: Tensor, targets: Tensor) -> Any:
    return 0.5


def per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")


FAULTS = {
    "load raises": (a_task(load=raising), "loading its data raised KeyError: 'line one"),
    "load returns something else": (a_task(load=lambda options: (1, 2)), "load() returned tuple"),
    "lengths differ": (
        a_task(load=with_parts(train=Split(torch.rand(5, 4), torch.zeros(6, dtype=torch.int64)))),
        "the training part has 5 inputs but 6 targets",
    ),
    "no tensors": (
        a_task(load=with_parts(train=Split(np.zeros((6, 4)), np.zeros(6)))),  # type: ignore[arg-type]
        "the training part has inputs of type ndarray, expected torch.Tensor",
    ),
    "test part as it is": (
        a_task(load=with_parts(test=part())),
        "TaskData.test must be an evoopt.tasks.SealedSplit, not Split",
    ),
    "training part as a tuple": (
        a_task(load=with_parts(train=(1, 2))),  # type: ignore[arg-type]
        "TaskData.train must be an evoopt.tasks.Split, not tuple",
    ),
    "empty training part": (a_task(load=with_parts(train=part(0))), "the training part is empty"),
    "empty validation part": (a_task(load=with_parts(validation=part(0))), "the validation part is empty"),
    "empty test part": (a_task(load=with_parts(test=SealedSplit(part(0)))), "the test part is empty"),
    "NaN": (
        a_task(load=with_parts(train=with_value(float("nan")))),
        "the training part has inputs that are NaN",
    ),
    "infinity in the sealed part": (
        a_task(load=with_parts(test=SealedSplit(with_value(float("-inf"))))),
        "the test part has inputs that are NaN or infinite",
    ),
    "NaN targets": (
        a_task(load=with_parts(train=Split(torch.rand(6, 4), torch.full((6, 3), float("nan"))))),
        "the training part has targets that are NaN",
    ),
    "model raises": (
        a_task(make_model=raising),
        "make_model, called without arguments, raised KeyError: 'line one",
    ),
    "model of another width": (
        a_task(make_model=lambda: models.MLP(7, 3)),
        "the training part does not fit the model: module '1' (Linear) fails: RuntimeError",
    ),
    "metric raises": (a_task(metric=raising), "the training part: the metric fails on outputs [4, 3] and"),
    "loss per example": (a_task(loss=per_example), "the loss must be a 0-dim tensor, found shape (4,)"),
    "metric is no tensor": (a_task(metric=scalar_as_float), "the metric must be a 0-dim tensor, found float"),
    "too many classes": (
        a_task(load=with_parts(validation=part(classes=5))),
        "the validation part has classes 0 to 4, but its model has 3 outputs",
    ),
    "negative class": (
        a_task(load=with_parts(test=SealedSplit(Split(torch.rand(6, 4), torch.arange(-1, 5) % 3 - 1)))),
        "the test part has classes -1 to 1",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_task_gives_one_line_with_its_name(fault: str) -> None:
    task, expected = FAULTS[fault]
    with pytest.raises(EvooptError) as caught:
        load_task_data(task, DataOptions())
    message = str(caught.value)
    assert message.startswith("task 'mine': ")
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_classes_may_be_of_any_integer_type(dtype: torch.dtype) -> None:
    split = part()
    task = a_task(load=with_parts(train=Split(split.x, split.y.to(dtype))))
    assert load_task_data(task, DataOptions()).train.y.dtype == torch.int64


@pytest.mark.parametrize("size", [0, -1, 16.0, "16"])
def test_a_batch_is_a_whole_number_of_examples(size: Any) -> None:
    with pytest.raises(EvooptError, match=f"task 'mine': batch_size must be .*, not {size!r}"):
        a_task(batch_size=size)


def test_own_errors_of_a_loader_keep_their_words() -> None:
    x, y = torch.rand(4, 4), torch.zeros(4, dtype=torch.int64)
    task = a_task(load=lambda options: split_data(x, y, x, y, options))
    with pytest.raises(EvooptError, match=r"^task 'mine': train_size 9 exceeds the 4 training examples"):
        load_task_data(task, DataOptions(train_size=9))


def test_loader_cannot_unseal_the_test_part_on_its_own() -> None:
    task = a_task()
    assert len(task.load(DataOptions()).test.open()) == 6
    with pytest.raises(SealedTestError):
        load_task_data(task, DataOptions()).test.open()


def test_empty_validation_part_is_accepted_when_asked_for() -> None:
    task = a_task(load=with_parts(validation=part(0)))
    data = load_task_data(task, DataOptions(validation_fraction=0.0))
    assert len(data.validation) == 0


def test_regression_tasks_pass_the_checks() -> None:
    x, y = torch.rand(20, 4), torch.rand(20, 1)
    task = a_task(
        make_model=lambda: models.MLP(4, 3, 1),
        load=lambda options: split_data(x, y, x, y, options),
        loss=torch.nn.functional.mse_loss,
        metric=lambda outputs, targets: 1 / (1 + (outputs - targets).square().mean()),
    )
    assert len(load_task_data(task, DataOptions()).train) == 16
