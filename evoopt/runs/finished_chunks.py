"""What the finished chunks of the generation in progress gave, so that an interruption costs none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

from evoopt.errors import EvooptError
from evoopt.evolution.stages import State
from evoopt.execution import Place
from evoopt.jobs.job_key import job_key
from evoopt.runs.checkpoints import WEIGHTS_FOLDER, file_digest
from evoopt.runs.run import Run
from evoopt.training.weights_file import read_tensors, write_tensors

J = TypeVar("J")
R = TypeVar("R")

_KIND = "evoopt.chunk"


class FinishedChunks(Generic[J, R]):
    """A `Memory` of jobs in a run folder, which forgets them with the next checkpoint.

    Results are JSON in the database; their tensors, if they have any, are a file beside those of checkpoints,
    written in full before the transaction that names it. A chunk whose file is lost or harmed is done again.

    Args:
        run: Open for writing.
        pack: What is kept of a result, to the last bit.
        unpack: The reverse.
        told: The numbers of each individual in a result, for whoever listens.
    """

    def __init__(
        self,
        run: Run,
        pack: Callable[[R], State],
        unpack: Callable[[State], R],
        told: Callable[[R], Iterable[dict[str, Any]]],
    ) -> None:
        self._told = told
        self._store, self._folder = run.store, run.folder / WEIGHTS_FOLDER
        self._pack, self._unpack = pack, unpack

    def __contains__(self, job: J) -> bool:
        kept = self._store.chunk(key := job_key(job))
        if kept is None or kept["sha256"] is None:
            return kept is not None
        path = self._path(key)
        return path.exists() and file_digest(path) == kept["sha256"]

    def __getitem__(self, job: J) -> R:
        kept = self._store.chunk(key := job_key(job))
        tensors = {} if kept["sha256"] is None else read_tensors(self._path(key), _KIND)[0]
        return self._unpack((kept["facts"], tensors))

    def keep(self, job: J, result: R) -> None:
        """Keep all that a chunk gave, or nothing of it."""
        key, digest = job_key(job), None
        facts, tensors = self._pack(result)
        if tensors:
            path = self._path(key)
            try:
                self._folder.mkdir(exist_ok=True)
                write_tensors(path, tensors, _KIND)
                digest = file_digest(path)
            except OSError as error:
                raise EvooptError(f"cannot write {path}: {error.strerror or error}") from None
        self._store.keep_chunk(key, {"sha256": digest, "facts": facts})
        for numbers in self._told(result):
            self._store.on_evaluation(numbers)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.safetensors"


def numbers_of_chunks(run: Run, read: Callable[[Any], Any] = lambda row: row) -> FinishedChunks[Any, Any]:
    """One for chunks whose results are lists of what JSON knows, or of dataclasses that ``read`` rebuilds."""

    def plain(result: list[Any]) -> list[Any]:
        return [one if isinstance(one, float) else asdict(one) for one in result]

    return FinishedChunks(
        run,
        lambda result: ({"result": plain(result)}, {}),
        lambda state: [read(row) for row in state[0]["result"]],
        lambda result: [{"fitness": one} if isinstance(one, float) else one for one in plain(result)],
    )


def states_folder(run: Run, place: Place) -> Path | None:
    """Where trainings leave their states on the way; workers on other machines would not see it."""
    return None if place.executor == "dask" else run.folder.absolute() / WEIGHTS_FOLDER
