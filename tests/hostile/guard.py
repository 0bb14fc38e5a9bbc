"""Watches what Python does while hostile input is read: no code from outside, no file outside a folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FORBIDDEN = {"os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "pickle.find_class"}
CHANGES = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"}

_allowed: Path | None = None
_seen: list[str] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _allowed is None:
        return
    if event in FORBIDDEN:
        _seen.append(f"{event} {arguments}")
    elif event in CHANGES or (event == "open" and _writes(arguments)):
        path = arguments[0]
        if isinstance(path, (str, bytes, os.PathLike)) and not _inside(os.fsdecode(path)):
            _seen.append(f"{event} {arguments}")


def _writes(arguments: tuple[Any, ...]) -> bool:
    return bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))


def _inside(path: str) -> bool:
    if path == os.devnull:
        return True
    assert _allowed is not None
    return Path(os.path.realpath(path)).is_relative_to(_allowed)


sys.addaudithook(_hook)


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Fail if anything inside starts a program, unpickles, or changes a file outside the folder."""
    global _allowed
    _seen.clear()
    _allowed = Path(os.path.realpath(folder))
    try:
        yield
    finally:
        _allowed = None
    assert not _seen
