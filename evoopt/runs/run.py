"""A run folder: the resolved configuration and the database."""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from evoopt.config import RunConfig, parse_config
from evoopt.errors import EvooptError, NoScoreError, command
from evoopt.evolution.budget import given
from evoopt.evolution.individual import Individual
from evoopt.individuals import individual_type
from evoopt.optim.rule import UpdateRule
from evoopt.runs.database import kept_beside
from evoopt.runs.experiment import CHANGES, EXPERIMENT, experiment_of, kept_config, refuse_another_type
from evoopt.runs.lock import LOCK_FILES, RunLock
from evoopt.runs.store import ENDED, LIFTED, STOPPED, RunStore
from evoopt.version import __version__

CONFIG_FILE, DATABASE_FILE = "config.toml", "run.sqlite"
RESULT_FILE, COMPARISON_FILE, MODEL_FILE = "result.json", "comparison.json", "model.safetensors"
_RESULTS = (RESULT_FILE, COMPARISON_FILE, MODEL_FILE)


class Run:
    """A run on disk.

    Attributes:
        folder: Where it lies.
        config: Its configuration.
        store: Its database.

    Args:
        folder: An existing run folder.
        writable: Whether to lock it for writing.
        lock: One that is held already.

    Raises:
        EvooptError: Not a run folder, or one of another version.
        RunLockedError: Writable, and another process is writing to it.
        EvooptError: Writable, and a link in it leads elsewhere.
    """

    def __init__(self, folder: str | Path, writable: bool = False, lock: RunLock | None = None) -> None:
        self.folder = Path(folder)
        path = self.folder / CONFIG_FILE
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            text = ""
        if not text.strip():  # as an editor leaves it on a full disk; of defaults alone there are always more
            hint = f"; {beside}" if (beside := kept_beside(path)) else ""
            raise EvooptError(f"{folder} is not a run folder: it has no readable {CONFIG_FILE}{hint}")
        self.config: RunConfig = parse_config(text, str(path))
        if writable:
            refuse_links(self.folder)
        self._lock = RunLock(self.folder) if writable and lock is None else lock
        try:
            self.store = RunStore(
                self.folder / DATABASE_FILE,
                readonly=not writable,
                read_genome=individual_type(self.config.individual).read_genome,
            )
            self._refuse_another_type()
        except BaseException:
            self.close()
            raise

    def _refuse_another_type(self) -> None:
        # Nothing that is read there would be what whoever reads it takes it for.
        if (began := kept_config(self.store, self.folder)) is not None:
            refuse_another_type(self.folder / CONFIG_FILE, self.config, DATABASE_FILE, began)

    @classmethod
    def begin(cls, folder: Path, config: RunConfig) -> Run:
        """Open for writing the run that lies in a folder, or a new one where there is none.

        Raises:
            EvooptError: See `create`, and the class.
        """
        begun = (folder / CONFIG_FILE).exists()
        return cls(folder, writable=True) if begun else cls.create(folder, config)

    @classmethod
    def create(cls, folder: str | Path, config: RunConfig) -> Run:
        """Make a new run folder and open it for writing.

        Raises:
            EvooptError: The folder holds something already, or cannot be written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _refuse_full(folder)  # before anything is written there
        except OSError as error:
            raise EvooptError(f"cannot write run folder {folder}: {error.strerror or error}") from None
        lock = RunLock(folder)
        try:
            _refuse_full(folder)
        except EvooptError:  # somebody else was faster
            lock.release()
            raise
        try:
            with closing(RunStore(folder / DATABASE_FILE, create=True)) as store:
                store.set_meta("evoopt", __version__)
                store.set_meta(EXPERIMENT, experiment_of(config))
            # Last, because a folder with a configuration counts as a run.
            write_file(folder / CONFIG_FILE, config.to_toml())
        except BaseException:  # half a run would be in the way of a whole one
            for name in (CONFIG_FILE, *(f"{DATABASE_FILE}{end}" for end in ("", "-wal", "-shm"))):
                (folder / name).unlink(missing_ok=True)
            lock.release()
            raise
        return cls(folder, writable=True, lock=lock)

    def close(self) -> None:
        """Close the database and give the lock back."""
        if hasattr(self, "store"):
            self.store.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, NoScoreError) and not self.finished:
            self.store.set_meta(STOPPED, str(error))
            self.store.forget_chunks()  # whoever mends the task wants all of them anew
        self.close()

    @property
    def finished(self) -> bool:
        """Whether a winner has been named."""
        return self.store.winner() is not None

    @property
    def uncompared(self) -> bool:
        """Whether a winner is named, and the comparison that the run ends with is still to be made."""
        return self.finished and self.config.compares and self.verdict is None

    @property
    def complete(self) -> bool:
        """Whether it is finished, and has its winner's model if that is one."""
        return self.finished and not self.lost_model

    @property
    def lost_model(self) -> bool:
        """Whether the winner is a model whose file is gone or cut off; who resumes the run has it anew."""
        if not self.finished or "parameters" not in self.winner:
            return False
        try:
            with safe_open(self.folder / MODEL_FILE, framework="np"):
                return False
        except (OSError, SafetensorError):
            return True

    @property
    def stopped(self) -> str | None:
        """Why the last generation that was begun left nothing to go on with; None if it did not."""
        reason: str | None = self.store.meta(STOPPED)
        return reason

    def note_end(self, why: str | None) -> None:
        """Keep why it ends before its last generation; None for one that does not."""
        if why is not None and len(self.generations) < int(self.config.option("generations")):
            self.store.set_meta(ENDED, why)

    @contextmanager
    def reopened(self, lifted: Sequence[str]) -> Iterator[None]:
        """Have a run that a limit ended go on from its last generation: what came after that is done anew.

        If an error ends it before it has gone on, its results are put back.

        Args:
            lifted: Names of the limits that hold no longer, however often the run is interrupted.
        """
        before, done = self.store.checkpoint(), len(self.generations)
        noted = {name: self.store.meta(name) for name in (EXPERIMENT, CHANGES)}
        aside = {self.folder / name: self.folder / f".{name}.before" for name in _RESULTS}
        for path, hidden in aside.items():
            if path.exists():
                path.replace(hidden)
        kept = self.store.reopen(done, lifted)
        try:
            yield
        except EvooptError:
            if self.store.checkpoint() == before:
                self.store.put_back(kept, done)
                for name, value in noted.items():
                    if self.store.meta(name) != value:
                        self.store.set_meta(name, value)
                for path, hidden in aside.items():
                    if hidden.exists():
                        hidden.replace(path)
            raise
        finally:
            for hidden in aside.values():
                hidden.unlink(missing_ok=True)

    @property
    def lifted(self) -> list[str]:
        """Names of limits that ended it once and hold no longer."""
        return [str(name) for name in self.store.meta(LIFTED) or ()]

    @property
    def ended(self) -> str | None:
        """Why it ended before its last generation; None if it did not."""
        why: str | None = self.store.meta(ENDED)
        return why

    def ended_by(self, limits: Mapping[str, float | None]) -> bool:
        """Whether one of some limits, by their names on the command line, is what ended it."""
        why = self.ended or ""
        return any(n is not None and given(name, n) in why for name, n in limits.items())

    def goes_on_with(self, limits: Mapping[str, float | None]) -> bool:
        """Whether a limit ended it and others, by their names on the command line, have it go on."""
        others = any(n is not None for n in limits.values())
        lasting = {name: n for name, n in limits.items() if name != "max_time"}  # time begins anew
        return self.ended is not None and others and not self.ended_by(lasting)

    @property
    def changes(self) -> list[str]:
        """What became of settings and task files since it began, with the leave of whoever resumed it."""
        return [str(line) for line in self.store.meta(CHANGES) or ()]

    @property
    def generations(self) -> list[dict[str, Any]]:
        """Statistics of every finished generation."""
        return self.store.generations()

    @property
    def winner(self) -> dict[str, Any]:
        """The winner: genome, rule, formula, fitness in the search and on the final's fresh seeds.

        Raises:
            EvooptError: The run is not finished.
        """
        winner: dict[str, Any] | None = self.store.winner()
        if winner is None:
            raise EvooptError(f"{self.folder} is not finished; go on with: {command('resume', self.folder)}")
        return winner

    @property
    def rule(self) -> UpdateRule:
        """The winner's update rule in canonical form.

        Raises:
            EvooptError: A run of another individual type, or not finished.
        """
        winner = self.winner
        if "rule" not in winner:
            raise EvooptError(
                f"{self.folder} holds models evolved as {self.config.individual!r}, not an optimizer; "
                f"its best model is {self.folder / MODEL_FILE}"
            )
        return UpdateRule.from_json(winner["rule"])

    @property
    def verdict(self) -> str | None:
        """How the winner compares with tuned Adam, in a sentence; None if that was not measured."""
        verdict = self._comparison.get("verdict")
        return " ".join(map(str, verdict)) if isinstance(verdict, list) else None

    @property
    def tuned(self) -> str | None:
        """The winner's settings that tuning for that comparison found best, and on what."""
        try:
            steps, trials = (self._comparison["protocol"][name] for name in ("steps", "trials"))
            name = self._comparison["participants"][0]["name"]
            found = [
                f"{by_name[name]['setting']} on {t}" for t, by_name in self._comparison["tuning"].items()
            ]
        except (KeyError, IndexError, TypeError, AttributeError):
            return None
        return f"{'; '.join(found)} (of {trials} settings each, {steps} steps)"

    @property
    def _comparison(self) -> dict[str, Any]:
        try:
            data = json.loads((self.folder / COMPARISON_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def lineage(self, number: int) -> list[Individual[Any]]:
        """An individual and all its ancestors, newest first."""
        return self.store.individuals(self.store.ancestors(number))[::-1]

    def result_json(self) -> str:
        """The outcome as text without anything that depends on time or machine load.

        Two runs of the same configuration, interrupted or not, give the same bytes.
        """
        digest = hashlib.sha256()
        count = 0
        for row in self.store.evaluations():
            *job, result = (getattr(row, name) for name in row.__dataclass_fields__)
            found = [getattr(result, name) for name in list(result.__dataclass_fields__)[:6]]
            values = [None if isinstance(x, float) and math.isnan(x) else x for x in found]
            digest.update(json.dumps([*job, *values]).encode())
            count += 1
        body: dict[str, Any] = {
            "name": self.config.name,
            "winner": self.store.winner(),
            "generations": self.generations,
            "evaluations": {"count": count, "sha256": digest.hexdigest()},
        }
        if self.changes:
            body["changes"] = self.changes
        return json.dumps(body, indent=1, sort_keys=True) + "\n"

    def write_verdict(self, sentence: str) -> None:
        """Keep why the winner was not compared with tuned Adam."""
        text = json.dumps({"verdict": [sentence]}, indent=1) + "\n"
        write_file(self.folder / COMPARISON_FILE, text)

    def write_result(self) -> None:
        """Have `result_json` in the folder."""
        path, text = self.folder / RESULT_FILE, self.result_json()
        with suppress(OSError):
            if path.read_bytes() == text.encode():
                return
        write_file(path, text)


def _refuse_full(folder: Path) -> None:
    if {path.name for path in folder.iterdir()} - set(LOCK_FILES):
        hint = f"; to go on with it: {command('resume', folder)}" if (folder / CONFIG_FILE).exists() else ""
        raise EvooptError(f"{folder} is not empty, give --out another folder{hint}")


def refuse_links(folder: Path) -> None:
    """Nothing outside a run folder is ever written or deleted, wherever the folder came from."""
    for path in (*folder.iterdir(), *folder.glob("*/*")):
        if path.is_symlink():
            raise EvooptError(f"{path} is a symbolic link: replace it, runs are not written through links")


def forget_results(folder: Path) -> None:
    """Delete the files of results, which are no longer those of the run."""
    for name in _RESULTS:
        (folder / name).unlink(missing_ok=True)


def write_file(path: Path, text: str) -> None:
    """Write a file completely or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file completely or not at all; a link, a pipe or a device that stands there is written to."""
    # Of a name of its own: two commands may write the same report.
    part = path.with_name(f".{path.name}.{threading.get_native_id()}.part")
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            path.write_bytes(data)
            return
        part.unlink(missing_ok=True)  # a link that lies in wait there would lead out of the folder
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise EvooptError(f"cannot write {path}: {error.strerror or error}") from None
