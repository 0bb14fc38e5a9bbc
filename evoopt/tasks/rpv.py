"""NERSC's images of R-parity violating supersymmetry (RPV) in the ATLAS calorimeters."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.tasks.image_folders import DataFiles, find_folder
from evoopt.tasks.splitting import split_indices
from evoopt.tasks.task import DataOptions, SealedSplit, Split, TaskData

CHANNELS = ("hist", "histEM", "histtrack")
SIDE = 64
FILES = DataFiles(
    "rpv",
    ("train.h5", "test.h5"),
    "NERSC (the ATLAS RPV images of arXiv 1711.03573; they are not public)",
    ("atlas-rpv-images", "rpv"),
)
_GROUP = "all_events"
_CHUNK = 4096


def load_rpv(options: DataOptions) -> TaskData:
    """Load events ``[n, 3, 64, 64]``: calorimeter energy, its electromagnetic part, tracks; classes 0 and 1.

    Only the rows of the subset are read, since all 412,416 training events take 20 GB. The second and third
    channel are divided by their maximum in the training part. Event weights are not used.

    Raises:
        EvooptError: No such files, files of another layout, or h5py is not installed.
    """
    folder = find_folder(FILES, options)
    h5py = _h5py()
    try:
        with h5py.File(folder / "train.h5", "r") as train, h5py.File(folder / "test.h5", "r") as test:
            labels, held = _labels(train), _labels(test)
            kept, validation = split_indices(labels, options)
            x, x_validation = (_images(train, rows) for rows in (kept, validation))
            x_test = _images(test, torch.arange(len(held)))
    except (OSError, KeyError) as error:
        raise EvooptError(
            f"{folder}: its files need a group {_GROUP} with y and {', '.join(CHANNELS)} ({error})"
        ) from None
    scale = x.amax(dim=(0, 2, 3), keepdim=True).clamp(min=1e-12)
    scale[:, 0] = 1
    return TaskData(
        Split(x / scale, labels[kept]),
        Split(x_validation / scale, labels[validation]),
        SealedSplit(Split(x_test / scale, held), unsealed=options.unseal_test),
    )


def binary_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits ``[n, 1]`` and classes 0 and 1 ``[n]``."""
    return F.binary_cross_entropy_with_logits(logits.squeeze(-1), targets.to(logits.dtype))


def binary_accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Share of examples on the right side of 0: logits ``[n, 1]``, classes 0 and 1 ``[n]``."""
    return ((logits.squeeze(-1) > 0) == (targets.reshape(logits.shape[:-1]) > 0)).float().mean()


def _h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError:
        raise EvooptError("reading the HDF5 files of 'rpv' needs h5py: pip install h5py") from None


def _labels(file: Any) -> Tensor:
    labels: NDArray[np.generic] = file[_GROUP]["y"][:].reshape(-1)
    if not np.isin(labels, (0, 1)).all():
        raise EvooptError(f"{file.filename}: y holds labels other than 0 and 1")
    return torch.from_numpy(labels.astype(np.int64))


def _images(file: Any, rows: Tensor) -> Tensor:
    """Read ascending ``rows``, in chunks: HDF5 is slow at picking single rows."""
    wanted, count = rows.numpy(), len(file[_GROUP]["y"])
    images = np.empty((len(wanted), len(CHANNELS), SIDE, SIDE), np.float32)
    for channel, name in enumerate(CHANNELS):
        data = file[_GROUP][name]
        if data.shape != (expected := (count, SIDE, SIDE)):
            raise EvooptError(f"{file.filename}: {name} has shape {data.shape}; expected {expected}")
        for start in range(0, len(data), _CHUNK):
            here = slice(*np.searchsorted(wanted, (start, start + _CHUNK)))
            if here.start < here.stop:
                images[here, channel] = data[start : start + _CHUNK][wanted[here] - start]
    return torch.from_numpy(images)
