"""The learning problems that are timed: models of the built-in tasks on made-up data held in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from evoopt.optim import PRESETS, UpdateRule
from evoopt.optim.terms import PAPER_TERMS
from evoopt.tasks import SealedSplit, Split, Task, TaskData
from evoopt.tasks.models import CIFAR10CNN, MLP, SmallCNN, SmallDigitsCNN
from evoopt.tasks.models.parts import hidden


@dataclass(frozen=True)
class Problem:
    """A model, the shape of its inputs and the minibatch size."""

    name: str
    make_model: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch_size: int
    title: str


def mlp() -> nn.Module:
    return MLP(40, 100, 100, 10)


def mlp_with_dropout() -> nn.Module:
    return nn.Sequential(*hidden(40, 100, 0.3), *hidden(100, 100, 0.3), nn.Linear(100, 10))


def cnn_with_norms() -> nn.Module:
    first, second = (
        [nn.Conv2d(channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)]
        for channels in (1, 16)
    )
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(64, 10))


PROBLEMS = {
    p.name: p
    for p in (
        Problem("mlp", mlp, (40,), 32, "MLP 40-100-100-10, batch 32"),
        Problem("dropout", mlp_with_dropout, (40,), 32, "MLP 40-100-100-10 with dropout, batch 32"),
        Problem("cnn8", SmallDigitsCNN, (1, 8, 8), 32, "CNN on 8x8 images, batch 32"),
        Problem("norm", cnn_with_norms, (1, 8, 8), 32, "CNN with batch normalisation, 8x8 images, batch 32"),
        Problem("cnn28", SmallCNN, (1, 28, 28), 128, "SmallCNN on 28x28 images, batch 128"),
        Problem("cifar", CIFAR10CNN, (3, 32, 32), 128, "CIFAR10CNN on 32x32 images, batch 128"),
    )
}


def mlp_of_width(width: int) -> Problem:
    """An MLP with two hidden layers, for cost against model size."""
    return Problem(f"mlp{width}", lambda: MLP(40, width, width, 10), (40,), 32, f"MLP 40-{width}-{width}-10")


def data_of(
    problem: Problem, count: int = 2560, targets: Callable[[Tensor], Tensor] = lambda y: y
) -> TaskData:
    """Made-up images of 10 classes, and what is to be learned of these."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(10, *problem.shape, generator=generator)

    def part(n: int) -> Split:
        y = torch.randint(0, 10, (n,), generator=generator)
        return Split(centres[y] + torch.randn(n, *problem.shape, generator=generator), targets(y))

    return TaskData(part(count), part(256), SealedSplit(part(16)))


def task_of(problem: Problem, data: TaskData) -> Task:
    return Task(problem.name, problem.make_model, lambda options: data, problem.batch_size)


def adam_rules(count: int) -> list[UpdateRule]:
    """What the baselines train: Adam, each member with its own learning rate."""
    return [UpdateRule((("adam", 1.0),), lr=PRESETS["adam"].lr * (1 + k / count)) for k in range(count)]


def random_rules(count: int) -> list[UpdateRule]:
    """Rules as a search has them at its start."""
    rng = np.random.default_rng(0)
    return [
        UpdateRule(
            tuple(
                (str(rng.choice(PAPER_TERMS)), float(rng.uniform(0.1, 1))) for _ in range(rng.integers(1, 4))
            ),
            lr=10 ** rng.uniform(-4, -3),
            beta1=rng.uniform(0.5, 0.99),
            beta2=rng.uniform(0.9, 0.9999),
            weight_decay=10 ** rng.uniform(-5, -3),
            use_m=bool(rng.random() < 0.7),
            use_v=bool(rng.random() < 0.7),
            bias_correction=bool(rng.random() < 0.6),
            clip_value=float(rng.uniform(0.5, 2)) if rng.random() < 0.2 else None,
            warmup_steps=int(rng.integers(50, 201)) if rng.random() < 0.3 else 0,
            cosine=bool(rng.random() < 0.3),
        )
        for _ in range(count)
    ]
