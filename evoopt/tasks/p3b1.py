"""CANDLE's benchmark P3B1: three classifications of cancer pathology reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from evoopt.errors import EvooptError
from evoopt.tasks.image_folders import DataFiles, find_folder
from evoopt.tasks.models.multitask import P3B1_CLASSES
from evoopt.tasks.splitting import split_indices
from evoopt.tasks.task import DataOptions, SealedSplit, Split, TaskData

FEATURES = 400
FILES = DataFiles(
    "p3b1",
    tuple(
        f"task{head}_0_{part}_{kind}.csv"
        for head in range(len(P3B1_CLASSES))
        for part in ("train", "test")
        for kind in ("feature", "label")
    ),
    "https://ftp.mcs.anl.gov/pub/candle/public/benchmarks/P3B1/P3B1_data.tar.gz",
    ("P3B1_data", "p3b1", "P3B1"),
)


def load_p3b1(options: DataOptions) -> TaskData:
    """Load the first fold. The three classifications have examples of their own, of 400 features each.

    Targets ``[n, 3]`` hold an example's class in its own classification and -1 in the others; see
    `evoopt.tasks.models.multitask_loss`. Validation examples are stratified over all classes.
    """
    folder = find_folder(FILES, options)
    train, test = (_part(folder, part) for part in ("train", "test"))
    # Every class of every classification is a class of its own for the division.
    head = (train.y >= 0).int().argmax(dim=1)
    kept, validation = split_indices(head * max(P3B1_CLASSES) + train.y.max(dim=1).values, options)
    return TaskData(
        train=Split(train.x[kept], train.y[kept]),
        validation=Split(train.x[validation], train.y[validation]),
        test=SealedSplit(test, unsealed=options.unseal_test),
    )


def _part(folder: Path, part: str) -> Split:
    features, targets = [], []
    for head, classes in enumerate(P3B1_CLASSES):
        path = folder / f"task{head}_0_{part}_label.csv"
        x, y = _table(folder / f"task{head}_0_{part}_feature.csv"), _table(path)
        if x.shape[1] != FEATURES or y.shape[1] != 1 or len(x) != len(y):
            raise EvooptError(
                f"{path} has shape {y.shape} and its features {x.shape}; expected (n, 1) and (n, {FEATURES})"
            )
        if not np.isin(y, np.arange(classes)).all():
            raise EvooptError(f"{path} holds labels that are not among the classes 0 to {classes - 1}")
        features.append(torch.from_numpy(x))
        of_head = torch.full((len(y), len(P3B1_CLASSES)), -1)
        of_head[:, head] = torch.from_numpy(y[:, 0]).long()
        targets.append(of_head)
    return Split(torch.cat(features), torch.cat(targets))


def _table(path: Path) -> NDArray[np.float32]:
    try:
        return np.loadtxt(path, delimiter=",", dtype=np.float32, ndmin=2)
    except ValueError as error:
        raise EvooptError(f"cannot read {path}; replace the file ({error})") from None
