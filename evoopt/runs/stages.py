"""The stages of an evolution of models in a run folder: JSON in the database, tensors in a file beside it."""

from __future__ import annotations

from evoopt.errors import EvooptError
from evoopt.evolution.stages import Stage, State
from evoopt.runs.run import Run
from evoopt.training.weights_file import read_tensors, write_tensors

WEIGHTS_FOLDER = "weights"
_KIND = "evoopt.checkpoint"


class RunStages:
    """Keeps the newest checkpoint of a run.

    The tensors of a checkpoint are a file of their own, written in full before the transaction that names it;
    files that no checkpoint names are deleted after it. So there is always one that goes with the database.

    Args:
        run: Open for writing.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._folder = run.folder / WEIGHTS_FOLDER
        state = run.store.checkpoint()
        self._stages = 0 if state is None else int(state["stages"])

    @property
    def done(self) -> int:
        """Stages finished so far."""
        return self._stages

    def load_stage(self) -> State | None:
        """The newest checkpoint, None before the first.

        Raises:
            EvooptError: Its file is missing or damaged.
        """
        state = self._run.store.checkpoint()
        if state is None:
            return None
        path = self._folder / str(state["file"])
        if path.parent != self._folder or not path.is_file():
            raise EvooptError(f"{path} is missing: the run cannot go on without its weights")
        return state["scheme"], read_tensors(path, _KIND)[0]

    def save_stage(self, stage: Stage, state: State) -> None:
        """Keep what a stage brought and the checkpoint after it, all or none."""
        scheme, tensors = state
        self._stages += 1
        name = f"{self._stages:06d}.safetensors"
        self._folder.mkdir(exist_ok=True)
        write_tensors(self._folder / name, tensors, _KIND)
        checkpoint = {"stages": self._stages, "file": name, "scheme": scheme}
        self._run.store.save_generation(stage.record, checkpoint, stage.created)
        for path in self._folder.iterdir():
            if path.name != name:
                path.unlink()
