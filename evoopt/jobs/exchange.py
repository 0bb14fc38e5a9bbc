"""How members travel: in messages, or as safetensors files in a folder that all machines see."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.training.weights_file import read_tensors, write_tensors

if TYPE_CHECKING:
    from evoopt.jobs.phase_trainer import PhaseChunk

_KIND = "evoopt.members"

Arrays = Mapping[str, NDArray[Any]]


@contextlib.contextmanager
def sent(chunks: Sequence[PhaseChunk], exchange: Path | None) -> Iterator[Sequence[PhaseChunk]]:
    """Put the members of chunks into files while they are worked on; without a folder leave them as they are.

    Args:
        chunks: With members as arrays.
        exchange: The folder. What lies there is removed at the end, with the answers.

    Raises:
        EvooptError: The folder cannot be written.
    """
    if exchange is None:
        yield chunks
        return
    try:
        own = tempfile.TemporaryDirectory(prefix="evoopt-", dir=exchange, ignore_cleanup_errors=True)
    except OSError as error:
        raise EvooptError(
            f"cannot write to the exchange folder {exchange}: {error.strerror or error}"
        ) from None
    with own as folder:
        yield [_filed(chunk, Path(folder) / f"{k}.safetensors") for k, chunk in enumerate(chunks)]


def received(parcel: Arrays | Path) -> dict[str, Tensor]:
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


def answer(arrays: Arrays, parcel: Arrays | Path) -> Arrays | Path:
    """Members on their way back, as they came.

    Args:
        arrays: The members.
        parcel: What they came in.

    Raises:
        EvooptError: Their file cannot be written.
    """
    return _written(arrays, parcel.with_suffix(".trained")) if isinstance(parcel, Path) else arrays


def _filed(chunk: PhaseChunk, path: Path) -> PhaseChunk:
    assert not isinstance(chunk.tensors, Path), "it is on its way already"
    return replace(chunk, tensors=_written(chunk.tensors, path))


def _written(arrays: Arrays, path: Path) -> Path:
    write_tensors(
        path, {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}, _KIND
    )
    return path
