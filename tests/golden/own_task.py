"""A task of one's own on embedded data whose network has what the built-in digits networks have not.

Batch normalisation, dropout, average pooling and a size that hyperparameters choose.
"""

from __future__ import annotations

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from evoopt.tasks import DataOptions, Task, TaskData, split_data


def network(filters: int = 6, dropout: float = 0.25) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.GELU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Dropout(dropout), nn.Linear(16 * filters, 10),
    )  # fmt: skip


def load(options: DataOptions) -> TaskData:
    x, y = load_digits(return_X_y=True)
    x = ((x - 5) / 6).reshape(-1, 1, 8, 8)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=0)
    return split_data(x_train, y_train, x_test, y_test, options)


def make_task() -> Task:
    return Task("digits_with_dropout", network, load, batch_size=32)
