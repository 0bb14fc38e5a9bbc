"""The minibatches of a training, with augmentation and dropout numbers: the same for every engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from evoopt.tasks.task import Split, Task, TaskData
from evoopt.training.dropout import DropoutDraws
from evoopt.training.plan import TrainingPlan, derive_seed
from evoopt.training.streams import AUGMENTATION, DROPOUT, OTHER_DRAWS, generator, minibatches


class Minibatch(NamedTuple):
    """One step's data: shared by all members, or with a leading dimension ``[P]`` one for each.

    Attributes:
        x: Inputs ``[b, ...]``, augmented.
        y: Targets ``[b, ...]``.
        uniform: Numbers for the dropout modules by buffer name, see `DropoutDraws`.
        seeds: Of random numbers that a model draws itself, one for all members or one for each.
    """

    x: Tensor
    y: Tensor
    uniform: dict[str, Tensor]
    seeds: tuple[int, ...] = ()


def load_minibatches(
    task: Task, train: Split, plans: Sequence[TrainingPlan], model: nn.Module | None = None, first: int = 0
) -> Iterator[Minibatch]:
    """Yield the minibatches of a training in order.

    Args:
        task: Says how to augment.
        train: Training split, already on its device and of its dtype.
        plans: Steps, batch size and seed: one plan for minibatches that all members share, else one for each
            member, which differ in their seeds alone.
        model: Any one model of the training, see `draws_of`; None where whoever trains draws for its dropout.
        first: The 0-based step to begin with.
    """
    drawn = [minibatches(len(train), plan) for plan in plans]
    if not drawn[0]:
        return
    shared, lengths = len(plans) == 1, [len(batch) for batch in drawn[0]]
    order = torch.stack([torch.cat(batches) for batches in drawn]).to(train.x.device)
    augmenting = [generator(plan, AUGMENTATION) for plan in plans]
    draws = None if model is None else draws_of(plans, model, train.x.device)
    roots = [derive_seed(plan.seed, OTHER_DRAWS) for plan in plans]
    for step, index in enumerate(torch.split(order[0] if shared else order, lengths, dim=-1)):
        if step < first and task.augment is None:
            continue
        x, y = train.x[index], train.y[index]
        if task.augment is not None and shared:
            x = task.augment(x, augmenting[0])
        elif task.augment is not None:
            x = torch.stack([task.augment(one, source) for one, source in zip(x, augmenting, strict=True)])
        if step < first:  # but how its inputs were augmented had to be drawn
            continue
        uniform = {} if draws is None else draws.draw(x, step)
        yield Minibatch(x, y, uniform, tuple(root ^ step for root in roots))


def draws_of(plans: Sequence[TrainingPlan], model: nn.Module, device: torch.device) -> DropoutDraws:
    """What draws for dropout.

    Args:
        plans: See `load_minibatches`.
        model: Any one model of the training, with given dropout, on the device; only read for the shapes of
            its dropout masks.
        device: That of the training.
    """
    return DropoutDraws(model, [derive_seed(plan.seed, DROPOUT) for plan in plans], device)


def scored_split(data: TaskData, plan: TrainingPlan) -> Split:
    """The split a plan is scored on.

    Raises:
        SealedTestError: The plan asks for test data that is sealed.
    """
    return data.validation if plan.split == "validation" else data.test.open()
