"""Division of examples into training, validation and sealed test parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.tasks.task import DataOptions, SealedSplit, Split, TaskData
from evoopt.tasks.tensors import as_targets, as_tensor

_SUBSET, _VALIDATION, _TEST = 1, 2, 3


def split_data(
    x_train: Any,
    y_train: Any,
    x_test: Any,
    y_test: Any,
    options: DataOptions,
    transform: Callable[[Tensor], Tensor] | None = None,
) -> TaskData:
    """Divide a data set as the options ask.

    Training examples are cut down to a random ``train_size``, then divided into training and validation.
    Integer targets ``[n]`` are classes, and every class gets its share of the validation part. The parts are
    disjoint, and for one seed they are the same on every machine.

    Args:
        x_train: Inputs ``[n, ...]`` to train and validate on, as a tensor, an array, a table or lists;
            floating-point ones become float32.
        y_train: Their targets ``[n]`` (classes, become int64) or ``[n, ...]`` (floating point).
        x_test: Inputs of the test part ``[m, ...]``.
        y_test: Their targets.
        options: Subset, validation share, seed, and whether the test part may be read.
        transform: Applied to the inputs of each part, e.g. a normalisation; it never sees inputs that the
            subset leaves out.

    Raises:
        EvooptError: What is no numbers, inputs and targets that differ in number, or too few examples for the
            options.
    """
    x, y = _inputs(x_train, "x_train"), _targets(y_train, "y_train")
    x_held, y_held = _inputs(x_test, "x_test"), _targets(y_test, "y_test")
    _check_lengths("train", x, y)
    _check_lengths("test", x_held, y_held)
    train, validation = split_indices(y, options)

    def part(inputs: Tensor, targets: Tensor) -> Split:
        return Split(inputs if transform is None else transform(inputs), targets)

    return TaskData(
        train=part(x[train], y[train]),
        validation=part(x[validation], y[validation]),
        # A copy: a transform may work in place, and these are a person's own.
        test=SealedSplit(
            part(x_held if transform is None else x_held.clone(), y_held), unsealed=options.unseal_test
        ),
    )


def split_indices(targets: Tensor, options: DataOptions) -> tuple[Tensor, Tensor]:
    """Choose which examples train and which validate.

    Args:
        targets: Targets ``[n]`` (int64 classes, stratified) or of any other kind (not stratified).
        options: Subset size, validation share and seed.

    Returns:
        Ascending int64 indices of the training and of the validation part.

    Raises:
        EvooptError: Too few examples.
    """
    available = len(targets)
    size = available if options.train_size is None else options.train_size
    if size > available:
        raise EvooptError(
            f"train_size {size} exceeds the {available} training examples there are; "
            f"lower it, or leave it out to use all of them"
        )
    kept = np.sort(np.argsort(_random_keys(available, options.seed, _SUBSET), kind="stable")[:size])
    held_out = round(size * options.validation_fraction)
    if held_out == size or (held_out == 0 and options.validation_fraction > 0):
        empty = "training" if held_out == size else "validation"
        raise EvooptError(
            f"validation_fraction {options.validation_fraction} of {size} examples leaves the {empty} part "
            f"empty; use more examples or another fraction"
        )
    is_class = targets.ndim == 1 and not targets.is_floating_point()
    classes = targets.cpu().numpy()[kept] if is_class else np.zeros(size, np.int64)
    chosen = stratified_sample(classes, held_out, options.seed, _VALIDATION)
    return torch.from_numpy(kept[~chosen]), torch.from_numpy(kept[chosen])


def fixed_division(classes: NDArray[np.generic], count: int) -> NDArray[np.bool_]:
    """Mark `count` examples ``[n]``, stratified, as a test part that depends on no seed."""
    return stratified_sample(classes, count, _TEST)


def stratified_sample(classes: NDArray[np.generic], count: int, *seed: int) -> NDArray[np.bool_]:
    """Mark `count` of ``n`` examples, each equally likely, and of every class its share to within one.

    Systematic sampling: the examples are sorted by class, in random order within each, and marked at equal
    distances from a random start.

    Args:
        classes: Class of each example ``[n]``.
        count: How many to mark, at most ``n``.
        seed: Decides which.
    """
    n = len(classes)
    keys = _random_keys(n + 1, *seed)
    by_class = np.lexsort((keys[:n], classes))
    passed = np.arange(n + 1) * count + int(keys[n]) % n
    mask = np.zeros(n, bool)
    mask[by_class[np.diff(passed // n) == 1]] = True
    return mask


def _random_keys(count: int, *path: int) -> NDArray[np.uint64]:
    # Sorting raw PCG64 output instead of calling Generator.permutation: numpy keeps only the raw stream fixed
    # from version to version.
    keys: NDArray[np.uint64] = np.random.PCG64(np.random.SeedSequence(path)).random_raw(count)
    return keys


def _inputs(values: Any, what: str) -> Tensor:
    tensor = as_tensor(values, what)
    return tensor.float() if tensor.is_floating_point() else tensor


def _targets(values: Any, what: str) -> Tensor:
    tensor = as_targets(values, what)
    return tensor.float() if tensor.is_floating_point() else tensor


def _check_lengths(part: str, x: Tensor, y: Tensor) -> None:
    if x.ndim == 0 or y.ndim == 0:
        raise EvooptError(f"x_{part} and y_{part} need one row per example, not a single number")
    if len(x) != len(y):
        raise EvooptError(f"x_{part} has {len(x)} examples but y_{part} has {len(y)}")
    if len(x) == 0:
        raise EvooptError(f"x_{part} and y_{part} are empty")
