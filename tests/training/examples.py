"""Small tasks that the training tests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from evoopt.tasks import TASKS, SealedSplit, Split, Task, TaskData, iwslt
from evoopt.tasks.models import MLP
from evoopt.tasks.rescaling import SUFFIX, rescaled


class Residual(nn.Module):
    """Not an nn.Sequential: has a skip connection, a frozen parameter and a layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5), requires_grad=False)
        self.inner = nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Dropout(0.3))
        self.norm = nn.LayerNorm(12)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)[:, :12]
        return self.head(self.norm(x + self.scale * self.inner(x)))


def odd_convolutions() -> nn.Module:
    """Strides, unequal padding, both poolings and normalisations, nested parts, whole-channel dropout."""
    return nn.Sequential(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
        ),
        nn.Dropout2d(0.2),
        nn.Conv2d(4, 6, 3, stride=(1, 2), padding=(2, 1)),
        nn.Tanh(),
        nn.AvgPool2d(2, 1),
        nn.Flatten(),
        nn.Linear(30, 16, bias=False),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(16, 4),
    )


def shake(x: Tensor, generator: torch.Generator) -> Tensor:
    return x + 0.1 * torch.randn(x.shape, generator=generator).to(x)


def split(count: int, shape: tuple[int, ...], classes: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, classes, (count,), generator=generator)
    centres = torch.randn(classes, *shape, generator=torch.Generator().manual_seed(99))
    return Split(centres[y] + 0.5 * torch.randn(count, *shape, generator=generator), y)


def parts_of(make: Callable[[int, int], Split], count: int = 100) -> TaskData:
    train, validation, test = (make(n, k) for k, n in enumerate((count, 60, 30), start=1))
    return TaskData(train, validation, SealedSplit(test))


def data_of(shape: tuple[int, ...], classes: int, count: int = 100) -> TaskData:
    return parts_of(lambda n, seed: split(n, shape, classes, seed), count)


def own_task(name: str, make: Callable[[], nn.Module], shape: tuple[int, ...], **extra: object) -> Task:
    data = data_of(shape, 4)
    return replace(Task(name, make, lambda options: data, batch_size=16), **extra)  # type: ignore[arg-type]


OWN_TASKS = {
    task.name: task
    for task in (
        own_task("mlp", lambda: MLP(10, 8, 4), (10,)),
        own_task("odd_convolutions", odd_convolutions, (1, 8, 8), augment=shake),
        own_task("residual", Residual, (2, 6)),
    )
}


def sentences(count: int, seed: int, length: int = iwslt.LENGTH) -> Split:
    """Sentences to copy, as the data of iwslt_vi_en."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(4, 100, (count, length), generator=generator)
    words[torch.rand(count, 1, generator=generator) * 40 + 5 < torch.arange(length)] = 0
    shifted = torch.cat([torch.full((count, 1), 2), words[:, :-1]], dim=1)
    return Split(torch.cat([words, shifted.where(words > 0, 0)], dim=1), words)


def text(count: int, seed: int) -> Split:
    """Random walks over the 65 characters of a text."""
    steps = torch.randint(0, 3, (count, 65), generator=torch.Generator().manual_seed(seed))
    walk = steps.cumsum(dim=1) % 65
    return Split(walk[:, :-1], walk[:, 1:])


def numbers(inputs: int, outputs: int) -> Callable[[int, int], Split]:
    """Makes numbers in [0, 1] that follow from the inputs."""

    def make(count: int, seed: int) -> Split:
        x = torch.randn(count, inputs, generator=torch.Generator().manual_seed(seed))
        mixing = torch.randn(inputs, outputs, generator=torch.Generator().manual_seed(99))
        return Split(x, (x @ mixing).sigmoid())

    return make


def labelled_once(count: int, seed: int) -> Split:
    """Examples of P3B1, each with a label in one of its three classifications."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.full((count, 3), -1)
    for row in range(count):
        y[row, row % 3] = row % (13, 2, 4)[row % 3]
    return Split(torch.rand(count, 400, generator=generator), y)


_DIGIT, _GREY, _COLOUR, _FACE = (1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 64, 64)
_BUILT_IN: dict[str, tuple[tuple[int, ...], int]] = {
    "digits": (_DIGIT, 10),
    "digits_cnn": (_DIGIT, 10),
    "digits_rows": (_DIGIT, 10),
    "breast_cancer": ((30,), 2),
    "wine": ((13,), 3),
    "heavy_tail": ((64,), 512),
    "associative_memory": ((64,), 512),
    "fashion_mnist_mlp128": (_GREY, 10),
    "fashion_mnist_cnn_small": (_GREY, 10),
    "letter_mlp128": ((16,), 26),
    "cifar10_cnn_small": (_COLOUR, 10),
    "mnist": (_GREY, 10),
    "mnist_mlp": (_GREY, 10),
    "mnist_lenet5": (_GREY, 10),
    "mnist_lenet_hpo": (_GREY, 10),
    "fashion_mnist": (_GREY, 10),
    "fashion_mnist_mlp": (_GREY, 10),
    "cifar10": (_COLOUR, 10),
    "cifar10_resnet20": (_COLOUR, 10),
    "cifar10_capsnet": (_COLOUR, 10),
    "orl5": (_FACE, 40),
    "orl7": (_FACE, 40),
    "orl9": (_FACE, 40),
    "yeast": ((8,), 10),
    "adult": ((108,), 2),
    "adult_raw": ((14,), 2),
    "letter": ((16,), 26),
    "rpv": ((3, 64, 64), 2),
    "rpv_stand_in": ((3, 64, 64), 2),
    "genetic_digits": (_DIGIT, 10),
    "genetic_mnist": (_GREY, 10),
    "genetic_cifar10": ((1, 32, 32), 10),
    "genetic_mnist_136": (_GREY, 10),
    "genetic_cifar10_rgb": ((3, 32, 32), 10),
}
_BUILT_IN_OTHERS = {
    "iwslt_vi_en": sentences,
    "iwslt_vi_en_full": partial(sentences, length=iwslt.FULL_LENGTH),
    **dict.fromkeys(("p3b1", "p3b1_f1", "p3b1_stand_in"), labelled_once),
    **dict.fromkeys(("characters", "language"), text),
    "digits_autoencoder": numbers(64, 64),
    "mnist_autoencoder": numbers(784, 784),
    "teacher_student": numbers(32, 4),
    "deep_narrow": numbers(2, 1),
}


def task_and_data(name: str) -> tuple[Task, TaskData]:
    """One of the tasks above, or a built-in task with made-up data of its shape."""
    if name.endswith(SUFFIX):
        task, data = task_and_data(name.removesuffix(SUFFIX))
        return rescaled(task), data
    if name in OWN_TASKS:
        return OWN_TASKS[name], OWN_TASKS[name].load(None)  # type: ignore[arg-type]
    if name in _BUILT_IN_OTHERS:
        return TASKS[name], parts_of(_BUILT_IN_OTHERS[name])
    assert name in _BUILT_IN, f"give the built-in task {name!r} an input shape here"
    return TASKS[name], data_of(*_BUILT_IN[name])
