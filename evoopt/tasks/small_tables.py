"""scikit-learn's embedded tables, so small that accuracy is too coarse a score."""

from __future__ import annotations

from functools import partial
from typing import Literal

from evoopt.tasks.embedded import load_embedded
from evoopt.tasks.metrics import quadratic_score
from evoopt.tasks.models import MLP
from evoopt.tasks.splitting import fixed_division
from evoopt.tasks.tables import split_table
from evoopt.tasks.task import DataOptions, Task, TaskData

_TEST_SHARE = 5


def load_table(name: Literal["breast_cancer", "wine"], options: DataOptions) -> TaskData:
    """Load a table; a fifth of its rows, the same for every seed, are the test part."""
    x, y = load_embedded(name)
    test = fixed_division(y, len(y) // _TEST_SHARE)
    return split_table(x[~test], y[~test], x[test], y[test], options)


SMALL_TABLES = (
    Task(
        "breast_cancer",
        partial(MLP, 30, 32, 32, 2),
        partial(load_table, "breast_cancer"),
        batch_size=32,
        metric=quadratic_score,
        description="scikit-learn's breast cancer (embedded), MLP 30-32-32-2",
        family="tables",
    ),
    Task(
        "wine",
        partial(MLP, 13, 32, 32, 3),
        partial(load_table, "wine"),
        batch_size=32,
        metric=quadratic_score,
        description="scikit-learn's wine (embedded), MLP 13-32-32-3",
        family="tables",
    ),
)
"""Scored by one less half the Brier score."""
