"""Folders for new runs: those that a command names itself, and those where a run never began."""

from __future__ import annotations

import contextlib
import fnmatch
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

from evoopt.errors import EvooptError
from evoopt.runs.database import BACKUP_FILE
from evoopt.runs.lock import LOCK_FILES, RunLock
from evoopt.runs.run import CONFIG_FILE, DATABASE_FILE, refuse_links
from evoopt.runs.store import RunStore

_OF_A_RUN = {
    CONFIG_FILE, DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm",
    BACKUP_FILE, *LOCK_FILES,
}  # fmt: skip


@contextlib.contextmanager
def new_folder(name: str, given: Path | None = None) -> Iterator[Path]:
    """The folder that the user gave, or a new one below ``runs`` whose name sorts by time.

    Args:
        name: What the new folder's name begins with.
        given: The user's own choice, taken as it is.

    Raises:
        EvooptError: A new folder cannot be made.
    """
    if given is not None:
        yield given
        return
    parent = Path("runs")
    found = parent.exists()
    folder = _reserved(parent / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        yield folder
    finally:
        # A command that fails before it writes anything leaves nothing behind.
        with contextlib.suppress(OSError):
            folder.rmdir()
            if not found:
                parent.rmdir()


def _reserved(first: Path) -> Path:
    # Made rather than only named, so that runs that a shell loop starts in one second get one folder each.
    try:
        for number in itertools.count(1):
            folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
            first.parent.mkdir(parents=True, exist_ok=True)
            # Another command that failed may take the parent away in between.
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                folder.mkdir()
                return folder
    except OSError as error:
        raise EvooptError(f"cannot write run folder {first}: {error.strerror or error}") from None
    raise AssertionError("numbers do not end")


def clear_unbegun(folder: Path) -> None:
    """Empty the folder of a run in which nothing was done, such as one whose data was missing.

    Whoever corrects the command and repeats it should not have to think of another folder.

    Raises:
        RunLockedError: Another process is at work there.
    """
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError:  # there is none, or whoever makes the run says what is wrong with it
        return
    parts = set(fnmatch.filter(names, f".{CONFIG_FILE}.*.part"))
    if DATABASE_FILE not in names or not names - parts <= _OF_A_RUN:
        return
    refuse_links(folder)
    lock = RunLock(folder)  # a run whose making was killed has no configuration yet, and is no `Run`
    try:
        with contextlib.closing(RunStore(folder / DATABASE_FILE, readonly=True)) as store:
            begun = store.begun
    except EvooptError:  # not for us to judge
        return
    finally:
        lock.release()
    if not begun:
        for name in names:
            (folder / name).unlink(missing_ok=True)
