"""Every random number of a training, drawn from its seed alone.

Common random numbers: two rules trained with the same seed start from the same weights and see the same
minibatches, augmentations and dropout masks, whichever engine trains them and whoever else is trained beside
them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from evoopt.tasks.seeding import seeded
from evoopt.tasks.task import Task
from evoopt.training.plan import TrainingPlan, derive_seed

_MINIBATCHES, AUGMENTATION, DROPOUT, OTHER_DRAWS = 1, 2, 3, 4


def initial_model(task: Task, seed: int) -> nn.Module:
    """Build the task's model with the initial weights of a seed; torch's global random state stays."""
    with seeded(seed):
        return task.make_model()


def minibatches(examples: int, plan: TrainingPlan) -> list[Tensor]:
    """Draw the indices of every minibatch of a training in advance.

    Args:
        examples: Size of the training split.
        plan: Steps, batch size, seed.

    Returns:
        One int64 tensor per step, ``[batch_size]`` each (the last of an epoch may be shorter without
        ``drop_last``). A batch size above the number of examples is cut down to it.
    """
    drawing = generator(plan, _MINIBATCHES)
    size = min(plan.batch_size, examples)
    batches: list[Tensor] = []
    while len(batches) < plan.steps:
        epoch = torch.split(torch.randperm(examples, generator=drawing), size)
        batches.extend(epoch[:-1] if plan.drop_last and len(epoch[-1]) < size else epoch)
    return batches[: plan.steps]


def own_draws(device: torch.device, enabled: bool = True) -> AbstractContextManager[None]:
    """What is drawn inside from torch's global random states, on the CPU and a device, leaves them alone."""
    if not enabled:
        return nullcontext()
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def seed_draws(seed: int, device: torch.device) -> None:
    """Set torch's global random states to a seed, for less than the millisecond of `torch.manual_seed`."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def generator(plan: TrainingPlan, stream: int) -> torch.Generator:
    """A stream of random numbers, on the CPU so that it is the same on every device."""
    return torch.Generator().manual_seed(derive_seed(plan.seed, stream))
