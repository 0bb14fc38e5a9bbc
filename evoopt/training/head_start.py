"""Gradient training that goes on where evolution stopped: future work of Esfahanian and Akhavan (2019)."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from evoopt.errors import EvooptError
from evoopt.tasks.task import Split
from evoopt.training.forward import Loss
from evoopt.training.minibatches import Minibatch
from evoopt.training.plan import TrainingPlan
from evoopt.training.sequential import Diverged, plain_loop
from evoopt.training.streams import minibatches

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]

KERAS_ADAM: MakeOptimizer = partial(torch.optim.Adam, lr=1e-3, eps=1e-7)
"""Adam with the settings of Keras, which the publication leaves unchanged."""


def train_on(
    model: nn.Module,
    train: Split,
    steps: int,
    seed: int,
    *,
    make_optimizer: MakeOptimizer = KERAS_ADAM,
    loss: Loss = F.cross_entropy,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
) -> nn.Module:
    """Train a copy of a model from the weights it has.

    Args:
        model: Stays as it is.
        train: Examples.
        steps: Minibatches.
        seed: Decides minibatches and dropout.
        make_optimizer: Makes the optimizer.
        loss: Mean loss of ``(outputs, targets)``.
        batch_size: Minibatch size.
        device: Where to train.

    Returns:
        The trained copy, on the CPU, in evaluation mode.

    Raises:
        EvooptError: The loss is no longer finite, or the optimizer fails.
    """
    trained, data = copy.deepcopy(model).to(device), train.to(device)
    indices = (index.to(device) for index in minibatches(len(data), TrainingPlan(steps, seed, batch_size)))
    batches = (Minibatch(data.x[index], data.y[index], {}) for index in indices)
    optimizer, losses = make_optimizer(trained.parameters()), list[float]()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            plain_loop(loss, trained, optimizer, batches, losses, sys.float_info.max)
        except Diverged as error:
            raise EvooptError(f"training diverged: {error}; try a smaller learning rate") from None
    return trained.cpu().eval()
