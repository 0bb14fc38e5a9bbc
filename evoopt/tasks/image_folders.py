"""Where data sets lie on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from evoopt.errors import EvooptError
from evoopt.execution.user_cache import user_cache
from evoopt.tasks.task import DataOptions

_NAMED = 3


@dataclass(frozen=True)
class DataFiles:
    """The files of a data set that people fetch themselves.

    Attributes:
        name: Name of the data set.
        files: Paths of its files relative to the folder they lie in.
        source: Where to get them.
        folders: Names that this folder may have inside the data folder; the data folder itself will do too.
    """

    name: str
    files: tuple[str, ...]
    source: str
    folders: tuple[str, ...] = ()


def cache_folder() -> Path:
    """The user's own folder for downloaded data sets.

    Raises:
        EvooptError: The user has no home, as happens in containers.
    """
    if folder := user_cache("data"):
        return folder
    raise EvooptError(
        "this user has no home folder for data sets: set HOME, or name one by --data-dir or EVOOPT_DATA"
    )


def data_folders(options: DataOptions) -> list[Path]:
    """Folders to look in, best first: ``options.data_dir``, ``EVOOPT_DATA``, the user's cache.

    Raises:
        EvooptError: One of the first two is not a folder, or neither is given and there is no cache.
    """
    named = {"data_dir": options.data_dir, "EVOOPT_DATA": os.environ.get("EVOOPT_DATA")}
    folders = {source: Path(folder).expanduser() for source, folder in named.items() if folder}
    for source, folder in folders.items():
        if not folder.is_dir():
            raise EvooptError(f"{source} names {folder}, which is not a folder")
    found = list(dict.fromkeys(folders.values()))
    if user_cache("data") or not found:
        found.append(cache_folder())
    return found


def find_folder(wanted: DataFiles, options: DataOptions) -> Path:
    """The first folder that holds all files of a data set.

    Raises:
        EvooptError: There is none; says which files are missing, where they were looked for, and where to get
            them.
    """
    roots = data_folders(options)
    lacking: dict[Path, list[str]] = {}
    for folder in (root / name for root in roots for name in ("", *wanted.folders)):
        lacking[folder] = [name for name in wanted.files if not (folder / name).is_file()]
        if not lacking[folder]:
            return folder
    folder, missing = min(lacking.items(), key=lambda item: len(item[1]))
    if len(missing) < len(wanted.files):
        raise EvooptError(
            f"data set {wanted.name!r}: {folder} lacks {_some(missing)}; get the rest from {wanted.source}"
        )
    inside = f", there or in a folder {wanted.folders[0]}" if wanted.folders else ""
    raise EvooptError(
        f"data set {wanted.name!r} is not in {' or '.join(map(str, roots))}: get {_some(missing)} from "
        f"{wanted.source} and put them into {roots[0]}{inside}"
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
