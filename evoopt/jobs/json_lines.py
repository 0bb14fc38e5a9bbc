"""A file of JSON lines that grows by a line per finished job and outlives an interruption."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evoopt.errors import EvooptError


class JsonLines:
    """Reads and extends such a file.

    Args:
        path: The file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The objects in it, without a line that an interruption cut short."""
        if self._path.exists():
            for line in self._path.read_bytes().splitlines():
                try:
                    record = json.loads(line)
                except ValueError:  # bytes that are no text among them
                    continue
                if isinstance(record, dict):
                    yield record

    def append(self, record: Mapping[str, Any]) -> None:
        """Add an object.

        Raises:
            EvooptError: The file cannot be written.
        """
        line = json.dumps(record) + "\n"
        try:
            with self._path.open("a+b") as file:
                file.seek(max(0, file.tell() - 1))
                torn = file.read() not in (b"", b"\n")
                file.write(("\n" + line if torn else line).encode())
        except OSError as error:
            raise EvooptError(
                f"cannot write {self._path}: {error.strerror or error}; what is in it is kept, and the same "
                "command goes on from there"
            ) from None
