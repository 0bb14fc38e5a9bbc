"""Tables of text: how they are read, checked, normalised and divided."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.tasks.splitting import split_data, split_indices
from evoopt.tasks.task import DataOptions, TaskData


def read_columns(path: Path, columns: int, rows: int, separator: str | None = ",") -> list[tuple[str, ...]]:
    """Read a table; empty lines and those that start with ``|`` are left out.

    Args:
        path: A text file.
        columns: How many values each row must have.
        rows: How many rows there must be.
        separator: What stands between values, None for white space.

    Returns:
        The values of each column, without surrounding spaces.

    Raises:
        EvooptError: Unreadable, or of another shape.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EvooptError(f"cannot read {path}; replace the file ({error})") from None
    table = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("|"):
            continue
        row = [*map(str.strip, line.split(separator))]
        if len(row) != columns:
            raise EvooptError(
                f"{path}, line {number}: {len(row)} values instead of {columns}; replace the file"
            )
        table.append(row)
    if len(table) != rows:
        raise EvooptError(f"{path} has {len(table):,} rows instead of {rows:,}; replace the file")
    return list(zip(*table, strict=True))


def numbers(path: Path, values: Sequence[str]) -> NDArray[np.float64]:
    """A column of numbers.

    Raises:
        EvooptError: One of the values is no number.
    """
    try:
        return np.array(values, dtype=np.float64)
    except ValueError as error:
        raise EvooptError(f"{path}: {error}; replace the file") from None


def codes(path: Path, values: Sequence[str], names: Sequence[str]) -> NDArray[np.int64]:
    """A column of names as their places in a list.

    Raises:
        EvooptError: One of the values is not in the list.
    """
    numbering = {name: k for k, name in enumerate(names)}
    try:
        return np.array([numbering[value] for value in values], dtype=np.int64)
    except KeyError as error:
        raise EvooptError(f"{path}: unknown value {error}, known are {', '.join(names)}") from None


def split_table(
    x_train: NDArray[np.float64],
    y_train: NDArray[np.int64],
    x_test: NDArray[np.float64],
    y_test: NDArray[np.int64],
    options: DataOptions,
    scaled: NDArray[np.bool_] | None = None,
) -> TaskData:
    """Divide rows ``[n, columns]`` as the options ask, and normalise them.

    Columns marked in ``scaled`` (by default all of them) get zero mean and unit variance in the training
    part, constant ones zero mean only.
    """
    kept, _ = split_indices(torch.from_numpy(y_train), options)
    seen = torch.from_numpy(x_train)[kept]
    wanted = torch.ones(seen.shape[1], dtype=torch.bool) if scaled is None else torch.from_numpy(scaled)
    mean, std = seen.mean(dim=0), seen.std(dim=0, correction=0)
    mean = torch.where(wanted, mean, 0)
    std = torch.where(wanted & (std > 0), std, 1)

    def normalise(x: Tensor) -> Tensor:
        return (x.double() - mean).div_(std).float()

    return split_data(x_train, y_train, x_test, y_test, options, normalise)
