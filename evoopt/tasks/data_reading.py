"""Reads a data set of (input, target) pairs into memory."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from evoopt.errors import EvooptError, EvooptWarning, one_line
from evoopt.tasks.tensors import as_tensor, stacked

_READ_AGAIN = 8  # a transform that flips every second image stays unseen once in 256 times


def is_data_set(data: Any) -> bool:
    """Whether `read_pairs` is to read it: it is no array or table, but gives examples by their number."""
    if isinstance(data, (Dataset, DataLoader)):
        return True
    other = isinstance(data, (Mapping, str, bytes)) or hasattr(data, "__array__") or hasattr(data, "toarray")
    return not other and (hasattr(data, "__getitem__") or hasattr(data, "__iter__"))


def read_pairs(data: Any, name: str) -> tuple[Tensor, Tensor]:
    """Inputs ``[n, ...]`` and targets ``[n, ...]`` of a data set whose examples are pairs.

    Each example is read once. If reading one again gives something else, a warning tells.

    Args:
        data: Gives its length and, by their number, its examples.
        name: What to call it in messages.

    Raises:
        EvooptError: No length, examples that cannot be read, are no pairs, or differ in shape.
    """
    count = _length(data, name)
    pairs = [_pair(data, k, name) for k in range(count)]
    x = stacked([x for x, _ in pairs], f"{name}: the inputs")
    y = stacked([y for _, y in pairs], f"{name}: the targets")
    again = (_pair(data, k, name) for k in range(min(count, _READ_AGAIN)))
    if not all(torch.equal(x[k], one) and torch.equal(y[k], other) for k, (one, other) in enumerate(again)):
        warnings.warn(
            f"{name}: its examples differ from one reading to the next (random transforms?): each stays as "
            "it was read first; a task file with augment has every minibatch augmented anew",
            EvooptWarning,
            stacklevel=2,
        )
    return x, y


def _length(data: Any, name: str) -> int:
    if isinstance(data, DataLoader):
        raise EvooptError(f"{name} is a DataLoader: pass its data set, loader.dataset, and batch_size")
    if isinstance(data, IterableDataset) or not hasattr(data, "__getitem__"):
        raise EvooptError(f"{name} ({type(data).__name__}) can only be iterated over: pass list(data)")
    if not hasattr(data, "__len__"):
        raise EvooptError(
            f"{name} ({type(data).__name__}) has no __len__: give it one, or pass a list of pairs"
        )
    try:
        return len(data)
    except Exception as error:  # a person's own code
        raise EvooptError(f"{name}: its length raised {one_line(error)}") from error


def _pair(data: Any, k: int, name: str) -> tuple[Tensor, Tensor]:
    try:
        example = data[k]
    except Exception as error:  # a person's own code
        raise EvooptError(f"{name}: reading example {k} raised {one_line(error)}") from error
    if not isinstance(example, (tuple, list)) or len(example) != 2:
        raise EvooptError(f"{name}: example {k} is {_described(example)}: make it a pair (input, target)")
    x, y = example
    if isinstance(x, Mapping) or (
        isinstance(x, (tuple, list)) and any(isinstance(one, (Tensor, np.ndarray)) for one in x)
    ):
        raise EvooptError(
            f"{name}: example {k} has several inputs: make them one tensor, which the model takes apart"
        )
    what = f"{name}: in example {k} the"
    return as_tensor(x, f"{what} inputs"), as_tensor(y, f"{what} targets")


def _described(example: Any) -> str:
    if isinstance(example, Mapping):
        return f"a dictionary of {', '.join(map(repr, example))}"
    if isinstance(example, (tuple, list)):
        return f"a {type(example).__name__} of {len(example)}"
    return f"of type {type(example).__name__}"
