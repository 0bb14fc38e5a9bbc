"""How members travel: in messages, or as safetensors files in a folder that all machines see."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.training.weights_file import read_tensors, write_tensors

_KIND = "evoopt.members"

Arrays = Mapping[str, NDArray[Any]]
Parcel = Arrays | Path
"""Members, or the safetensors file that holds them."""

State = tuple[dict[str, Any], dict[str, Tensor]]
"""Something as JSON, and tensors by name."""


@contextlib.contextmanager
def sending(folder: Path | None) -> Iterator[Callable[[Parcel], Parcel]]:
    """What puts members into files while they are worked on; without a folder it leaves them as they are.

    Args:
        folder: One that all machines see. What lies there is removed at the end, with the answers.

    Raises:
        EvooptError: The folder cannot be written.
    """
    if folder is None:
        yield lambda parcel: parcel
        return
    try:
        files = tempfile.TemporaryDirectory(prefix="evoopt-", dir=folder, ignore_cleanup_errors=True)
    except OSError as error:
        raise EvooptError(
            f"cannot write to the exchange folder {folder}: {error.strerror or error}"
        ) from None
    with files as path:
        numbers = itertools.count()
        yield lambda parcel: _filed(parcel, Path(path) / f"{next(numbers)}.safetensors")


def received(parcel: Parcel) -> dict[str, Tensor]:
    """The members of a message or a file.

    Raises:
        EvooptError: A file that this machine does not see or cannot read.
    """
    if not isinstance(parcel, Path):
        # Copies, because arrays from another process are read-only and a worker's must not be the caller's.
        return {name: torch.from_numpy(np.array(array)) for name, array in parcel.items()}
    if not parcel.exists():
        raise EvooptError(
            f"{parcel} is not there: execution.exchange must be a folder that every machine sees"
        )
    return read_tensors(parcel, _KIND)[0]


def answer(arrays: Arrays, parcel: Parcel) -> Parcel:
    """Members on their way back, as they came.

    Args:
        arrays: The members.
        parcel: What they came in.

    Raises:
        EvooptError: Their file cannot be written.
    """
    return _filed(arrays, parcel.with_suffix(".trained")) if isinstance(parcel, Path) else arrays


def as_arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    """Tensors on the CPU as arrays that share their memory.

    Raises:
        EvooptError: A type of numbers that numpy has not, or float16, in which Adam's divisor vanishes.
    """
    return {name: as_array(tensor) for name, tensor in tensors.items()}


def as_array(tensor: Tensor) -> NDArray[Any]:
    """One of them."""
    with contextlib.suppress(TypeError):
        if tensor.dtype != torch.float16:
            return tensor.numpy()
    dtype = str(tensor.dtype).removeprefix("torch.")
    raise EvooptError(f"models of {dtype} cannot be trained here: make them in float32")


def _filed(parcel: Parcel, path: Path) -> Path:
    assert not isinstance(parcel, Path), "it is on its way already"
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in parcel.items()}
    write_tensors(path, tensors, _KIND)
    return path
