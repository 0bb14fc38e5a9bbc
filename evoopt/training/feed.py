"""The minibatches of one training, with augmentation and dropout numbers: the same for every engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from evoopt.tasks.task import Split, Task, TaskData
from evoopt.training.dropout import DropoutDraws
from evoopt.training.plan import TrainingPlan
from evoopt.training.streams import augmentation_generator, dropout_generator, minibatches


class Minibatch(NamedTuple):
    """One step's data, shared by all members.

    Attributes:
        x: Inputs ``[b, ...]``, augmented.
        y: Targets ``[b, ...]``.
        uniform: Numbers for the dropout modules by buffer name, see `DropoutDraws`.
    """

    x: Tensor
    y: Tensor
    uniform: dict[str, Tensor]


def feed(task: Task, train: Split, plan: TrainingPlan, model: nn.Module) -> Iterator[Minibatch]:
    """Yield the minibatches of a training in order.

    Args:
        task: Says how to augment.
        train: Training split, already on its device and of its dtype.
        plan: Steps, batch size, seed.
        model: Any one model of the training, with given dropout, on the split's device; only read for the
            shapes of its dropout masks.
    """
    batches = minibatches(len(train), plan)
    lengths = [len(batch) for batch in batches]
    order = torch.cat(batches).to(train.x.device) if batches else torch.empty(0, dtype=torch.int64)
    augmenting, draws = augmentation_generator(plan), DropoutDraws(model, dropout_generator(plan))
    for index in torch.split(order, lengths):
        x = train.x[index]
        if task.augment is not None:
            x = task.augment(x, augmenting)
        yield Minibatch(x, train.y[index], draws.draw(x))


def scored_split(data: TaskData, plan: TrainingPlan) -> Split:
    """The split a plan is scored on.

    Raises:
        SealedTestError: The plan asks for test data that is sealed.
    """
    return data.validation if plan.split == "validation" else data.test.open()
