"""One writer per run folder."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from evoopt.errors import EvooptError, RunLockedError

_LOCK, _OWNER = LOCK_FILES = ("run.lock", "run.owner")


def is_in_use(folder: Path) -> bool:
    """Whether a process writes to a run folder."""
    if not (folder / _OWNER).exists():
        return False
    if (folder / _LOCK).is_symlink():  # opening it would open, and may empty, a file elsewhere
        return True
    # Left behind by a process that was killed? Then nobody holds the lock, and it is free to be tried.
    lock = FileLock(folder / _LOCK)
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # not ours to lock: a folder that may only be read
        return True


class RunLock:
    """An advisory lock on a run folder; the system drops it when its holder dies, however that happens.

    Args:
        folder: The run folder.

    Raises:
        RunLockedError: Another process holds the lock.
        EvooptError: The folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = FileLock(folder / _LOCK)
        self._owner = folder / _OWNER
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RunLockedError(
                f"{folder} is in use by {self._read_owner()}; wait for it to end, or stop it with Ctrl-C"
            ) from None
        except OSError as error:
            raise EvooptError(f"cannot write to {folder}: {error.strerror or error}") from None
        with contextlib.suppress(OSError):  # only tells others who we are
            self._owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")

    def _read_owner(self) -> str:
        try:
            return self._owner.read_text(encoding="utf-8") or "another process"
        except OSError:
            return "another process"

    def release(self) -> None:
        """Give the lock back."""
        with contextlib.suppress(OSError):
            self._owner.unlink(missing_ok=True)
        self._lock.release()
