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

    def of(self, members: slice | Tensor) -> Minibatch:
        """The minibatches of some members, where each has its own."""
        seeds = self.seeds[members] if isinstance(members, slice) else [self.seeds[i] for i in members]
        uniform = {n: t[members] for n, t in self.uniform.items()}
        return Minibatch(self.x[members], self.y[members], uniform, tuple(seeds))


def load_minibatches(
    task: Task, train: Split, plans: Sequence[TrainingPlan], model: nn.Module
) -> Iterator[Minibatch]:
    """Yield the minibatches of a training in order.

    Args:
        task: Says how to augment.
        train: Training split, already on its device and of its dtype.
        plans: Steps, batch size and seed: one plan for minibatches that all members share, else one for each
            member, which differ in their seeds alone.
        model: Any one model of the training, with given dropout, on the split's device; only read for the
            shapes of its dropout masks.
    """
    drawn = [minibatches(len(train), plan) for plan in plans]
    if not drawn[0]:
        return
    shared, lengths = len(plans) == 1, [len(batch) for batch in drawn[0]]
    order = torch.stack([torch.cat(batches) for batches in drawn]).to(train.x.device)
    augmenting, dropping = ([generator(plan, stream) for plan in plans] for stream in (AUGMENTATION, DROPOUT))
    draws = DropoutDraws(model)
    roots = [derive_seed(plan.seed, OTHER_DRAWS) for plan in plans]
    for step, index in enumerate(torch.split(order[0] if shared else order, lengths, dim=-1)):
        seeds = tuple(root ^ step for root in roots)
        x, y = train.x[index], train.y[index]
        if shared:
            x = x if task.augment is None else task.augment(x, augmenting[0])
            yield Minibatch(x, y, draws.draw(x, dropping[0]), seeds)
            continue
        if task.augment is not None:
            x = torch.stack([task.augment(one, source) for one, source in zip(x, augmenting, strict=True)])
        uniform = [draws.draw(one, source) for one, source in zip(x, dropping, strict=True)]
        stacks = {name: torch.stack([u[name] for u in uniform]) for name in uniform[0]}
        yield Minibatch(x, y, stacks, seeds)


def scored_split(data: TaskData, plan: TrainingPlan) -> Split:
    """The split a plan is scored on.

    Raises:
        SealedTestError: The plan asks for test data that is sealed.
    """
    return data.validation if plan.split == "validation" else data.test.open()
