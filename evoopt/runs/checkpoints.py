"""The checkpoints of an evolution in a run folder: JSON in the database, tensors in a file beside it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import Tensor

from evoopt.errors import EvooptError, command, read_as_data
from evoopt.evolution.stages import Stage, State
from evoopt.runs.run import Run
from evoopt.runs.store import REOPENED
from evoopt.training.weights_file import read_tensors, write_tensors

WEIGHTS_FOLDER = "weights"
_KIND = "evoopt.checkpoint"


class Checkpoints:
    """Keeps the newest checkpoint of a run, and the one that the database's backup names.

    The tensors of a checkpoint are a file of their own, written in full before the transaction that names it;
    files that neither names are deleted after it. So there is always one that goes with the database.

    Args:
        run: Open for writing.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._folder = run.folder / WEIGHTS_FOLDER
        state = run.store.checkpoint()
        with read_as_data("the run's checkpoint"):
            self._stages = 0 if state is None else int(state["stages"])

    @property
    def done(self) -> int:
        """Stages finished so far."""
        return self._stages

    @property
    def reopened(self) -> bool:
        """Whether a limit had ended the run, which is to go on all the same."""
        return bool(self._run.store.meta(REOPENED))

    @property
    def ended(self) -> str | None:
        """Why a limit ended the run, which has no winner yet."""
        return self._run.ended

    def load_stage(self) -> State | None:
        """The newest checkpoint, None before the first.

        Raises:
            EvooptError: Its file is missing or damaged.
        """
        state = self._run.store.checkpoint()
        if state is None:
            return None
        with read_as_data("the run's checkpoint"):
            scheme, file, digest = state["scheme"], state["file"], state["sha256"]
        if file is None:
            return scheme, {}
        path = self._folder / str(file)
        try:
            if path.parent != self._folder or file_digest(path) != digest:
                raise EvooptError(f"{path} is not what was written")
            return scheme, read_tensors(path, _KIND)[0]
        except (EvooptError, OSError) as error:
            raise EvooptError(f"the run's weights are lost: {error}; {self._advice(state)}") from None

    def save_stage(self, stage: Stage, state: State) -> None:
        """Keep what a stage brought and the checkpoint after it, all or none."""
        scheme, tensors = state
        self._stages += 1
        name, digest = self._write(tensors) if tensors else (None, None)
        checkpoint = {"stages": self._stages, "file": name, "sha256": digest, "scheme": scheme}
        self._run.store.save_generation(stage.record, checkpoint, stage.created)
        if not self._folder.exists():
            return
        backup = self._run.store.backup_checkpoint()
        kept = {name, None if backup is None else backup["file"]}
        for old in self._folder.iterdir():  # those of chunks and of trainings on the way, too
            if old.name not in kept:
                old.unlink()

    def _write(self, tensors: dict[str, Tensor]) -> tuple[str, str]:
        path = self._folder / f"{self._stages:06d}.safetensors"
        try:
            self._folder.mkdir(exist_ok=True)
            write_tensors(path, tensors, _KIND)
            return path.name, file_digest(path)
        except OSError as error:
            raise EvooptError(f"cannot write {path}: {error.strerror or error}") from None

    def _advice(self, state: dict[str, Any]) -> str:
        backup = self._run.store.backup_checkpoint()
        if backup is None or backup["file"] == state["file"]:
            return "there is no earlier state to go back to"
        back = command("resume", self._run.folder, "--from-backup")
        return f"go back to the state after stage {backup['stages']} with: {back}"


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
