"""Long trainings leave their state on the way, from which another attempt goes on with the same bytes."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
import zlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.training.weights_file import read_tensors, write_tensors

SAVE_EVERY = 120.0
"""Seconds between two states of a training that are kept; what is done since then is lost with a process."""

_KIND = "evoopt.training"
_HERE: ContextVar[States | None] = ContextVar("states", default=None)

State = tuple[dict[str, Any], dict[str, Tensor]]


@dataclass
class States:
    """Where the trainings of one job leave their states, each in a file of its own.

    Attributes:
        stem: What the files' names begin with.
        every: Seconds between two states.
    """

    stem: Path
    every: float = SAVE_EVERY
    _begun: float = field(default_factory=time.monotonic)
    _saved: float = field(default_factory=time.monotonic)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def next_file(self) -> Path:
        """The file of the training that begins now; trainings follow each other as in any other attempt."""
        return self.stem.with_name(f"{self.stem.name}.{next(self._numbers)}.state")

    def due(self, at_end: bool) -> bool:
        """Whether it is time for another state; at the end of a training it is, unless the job is young."""
        return time.monotonic() - (self._begun if at_end else self._saved) >= self.every

    def save(self, path: Path, state: State) -> None:
        """Keep a state; one that cannot be written is not kept, and the training goes on."""
        facts, tensors = state
        with contextlib.suppress(EvooptError, OSError):
            path.parent.mkdir(exist_ok=True)
            write_tensors(path, tensors, _KIND, facts=facts, checksum=_checksum(state))
        self._saved = time.monotonic()

    def load(self, path: Path) -> State | None:
        """The state that an earlier attempt has left; None for one that is missing or harmed."""
        if not path.exists():
            return None
        try:
            tensors, about = read_tensors(path, _KIND)
        except EvooptError:
            return None
        state = about.get("facts", {}), tensors
        return state if about.get("checksum") == _checksum(state) else None


def current_states() -> States | None:
    """Where the trainings that begin now leave their states, if anywhere."""
    return _HERE.get()


@dataclass(frozen=True)
class Interruptible:
    """A chunk whose trainings leave their states, see `interruptible`.

    Attributes:
        chunk: What a worker does.
        stem: See `States`.
        every: See `States`.
    """

    chunk: Any
    stem: Path
    every: float


def interruptible(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What does chunks, and such as are `Interruptible`."""

    def run(chunk: Any) -> Any:
        if not isinstance(chunk, Interruptible):
            return work(chunk)
        token = _HERE.set(States(chunk.stem, chunk.every))
        try:
            return work(chunk.chunk)
        finally:
            _HERE.reset(token)

    return run


def remove_states(stem: Path) -> None:
    """Remove what the trainings of a job that is finished have left."""
    for path in stem.parent.glob(f"{stem.name}.*.state"):
        path.unlink(missing_ok=True)


def _checksum(state: State) -> int:
    facts, tensors = state
    checksum = zlib.crc32(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        whole = tensors[name].clone(memory_format=torch.contiguous_format)  # of stride 1, even if it is one
        checksum = zlib.crc32(whole.view(torch.uint8).numpy().data, checksum)
    return checksum
