"""Made-up data on which optimizers are known to differ, drawn once and for all from fixed seeds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from evoopt.tasks.metrics import balanced_accuracy, explained_variance
from evoopt.tasks.models import MLP
from evoopt.tasks.splitting import split_data
from evoopt.tasks.task import DataOptions, Task, TaskData

Table = tuple[NDArray[np.generic], NDArray[np.generic]]

_CLASSES, _FEATURES = 512, 64
_FACTS, _KEYS = 512, 64
_INPUTS, _OUTPUTS = 32, 4
_WAVES = 8


def counts_by_rank(classes: int, total: int) -> NDArray[np.int64]:
    """How many of ``total`` examples each class gets, in proportion to 1/rank but at least one."""
    weights = 1 / np.arange(1, classes + 1)
    shares = (total - classes) * weights / weights.sum()
    counts: NDArray[np.int64] = 1 + np.floor(shares).astype(np.int64)
    largest_rests = np.argsort(np.floor(shares) - shares, kind="stable")
    counts[largest_rests[: total - counts.sum()]] += 1
    return counts


def heavy_tail(rng: np.random.RandomState) -> tuple[Table, Table]:
    """Classes with frequencies of about 1/rank, overlapping Gaussians around random centres."""
    centres = rng.standard_normal((_CLASSES, _FEATURES))

    def part(total: int) -> Table:
        y = np.repeat(np.arange(_CLASSES), counts_by_rank(_CLASSES, total))
        return centres[y] + 1.5 * rng.standard_normal((total, _FEATURES)), y

    return part(8192), part(2048)


def associative_memory(rng: np.random.RandomState) -> tuple[Table, Table]:
    """Facts to remember: which key belongs to which of as many values; frequencies of about 1/rank.

    There are eight times as many keys as dimensions. Each is seen with a little noise.
    """
    keys = rng.standard_normal((_FACTS, _KEYS)) / np.sqrt(_KEYS)

    def part(total: int) -> Table:
        y = np.repeat(np.arange(_FACTS), counts_by_rank(_FACTS, total))
        return keys[y] + 0.02 * rng.standard_normal((total, _KEYS)), y

    return part(8192), part(2048)


def teacher_student(rng: np.random.RandomState) -> tuple[Table, Table]:
    """Noisy outputs of a random network with one hidden layer, from inputs of badly conditioned covariance.

    The network sees independent numbers of unit variance. The inputs are these, scaled by factors from 1 to
    1/30 and mixed by a Hadamard matrix, so that all matter and most are hard to see.
    """
    from scipy.linalg import hadamard

    scales = np.geomspace(1, 1 / 30, _INPUTS)
    mixing = scales[:, None] * hadamard(_INPUTS) / np.sqrt((scales**2).sum())
    first = rng.standard_normal((_INPUTS, 16)) / np.sqrt(_INPUTS)
    second = rng.standard_normal((16, _OUTPUTS)) / np.sqrt(16)

    def part(total: int) -> Table:
        hidden = rng.standard_normal((total, _INPUTS))
        y = np.tanh(hidden @ first) @ second
        return hidden @ mixing, y / y.std() + 0.2 * rng.standard_normal(y.shape)

    return part(8192), part(2048)


def waves(rng: np.random.RandomState) -> tuple[Table, Table]:
    """A sum of plane waves of random directions over the square [-1, 1]^2."""
    directions, phases = 4 * rng.standard_normal((2, _WAVES)), rng.uniform(0, 2 * np.pi, _WAVES)

    def part(total: int) -> Table:
        x = rng.uniform(-1, 1, (total, 2))
        return x, np.sin(x @ directions + phases).sum(axis=1, keepdims=True) / np.sqrt(_WAVES / 2)

    return part(4096), part(1024)


def load_made_up(
    make: Callable[[np.random.RandomState], tuple[Table, Table]], options: DataOptions
) -> TaskData:
    """Draw a data set, always the same one, and divide its training part as the options ask."""
    # numpy promises to leave the streams of RandomState as they are, which it does not of newer generators.
    train, test = make(np.random.RandomState(0))
    return split_data(*train, *test, options)


def memory_model() -> nn.Module:
    """A trained matrix, and behind it the fixed, random directions of the values: logits ``[n, values]``."""
    values = nn.Linear(_KEYS, _FACTS, bias=False).requires_grad_(False)
    nn.init.normal_(values.weight, std=0.5)
    return nn.Sequential(nn.Linear(_KEYS, _KEYS, bias=False), values)


SYNTHETIC = (
    Task(
        "heavy_tail",
        partial(MLP, _FEATURES, 64, _CLASSES),
        partial(load_made_up, heavy_tail),
        metric=balanced_accuracy,
        description="512 classes with frequencies of 1/rank (made up), MLP 64-64-512",
        family="long tails",
    ),
    Task(
        "associative_memory",
        memory_model,
        partial(load_made_up, associative_memory),
        metric=balanced_accuracy,
        description="512 facts with frequencies of 1/rank (made up), one matrix of 64x64",
        family="memory",
    ),
    Task(
        "teacher_student",
        partial(MLP, _INPUTS, 64, 64, _OUTPUTS),
        partial(load_made_up, teacher_student),
        loss=F.mse_loss,
        metric=explained_variance,
        description="a random network on badly conditioned inputs (made up), MLP 32-64-64-4",
        family="regression",
    ),
    Task(
        "deep_narrow",
        partial(MLP, 2, *[16] * 6, 1, activation=nn.Tanh),
        partial(load_made_up, waves),
        loss=F.mse_loss,
        metric=explained_variance,
        description="a sum of plane waves (made up), MLP 2-16-16-16-16-16-16-1 with tanh",
        family="regression",
    ),
)
"""Regressions are scored by the explained variance, classes and facts alike whether they are rare or not."""
