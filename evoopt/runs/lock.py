"""One writer per run folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from evoopt.errors import RunLockedError


class RunLock:
    """An advisory lock on a run folder; the system drops it when its holder dies, however that happens.

    Args:
        folder: The run folder.

    Raises:
        RunLockedError: Another process holds the lock.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = FileLock(folder / "run.lock")
        self._owner = folder / "run.owner"
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RunLockedError(
                f"{folder} is in use by {self._read_owner()}; wait for it to end, or stop it with Ctrl-C"
            ) from None
        self._owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")

    def _read_owner(self) -> str:
        try:
            return self._owner.read_text(encoding="utf-8") or "another process"
        except OSError:
            return "another process"

    def release(self) -> None:
        """Give the lock back."""
        self._owner.unlink(missing_ok=True)
        self._lock.release()
