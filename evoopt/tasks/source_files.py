"""The files that a person's own task is made of, so that a run can tell when they have changed."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


def source_digests(names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the files of tasks that are given as ``path/to/file.py:function``, by path.

    Counted are the file and the modules beside it that it imports, directly or not; built-in tasks have none.
    """
    digests: dict[str, str] = {}
    for path in task_files(names):
        _collect(path, path.parent, digests)
    return digests


def task_files(names: Iterable[str]) -> list[Path]:
    """The files of tasks that are given as ``path/to/file.py:function``."""
    paths = [Path(name.rpartition(":")[0]).expanduser() for name in names]
    return [path for path in paths if path.suffix == ".py"]


def _collect(file: Path, folder: Path, digests: dict[str, str]) -> None:
    if str(file) in digests or not file.is_file():
        return
    source = file.read_bytes()
    digests[str(file)] = hashlib.sha256(source).hexdigest()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # whoever imports it will say so
        return
    for start, parts in _imports(tree, file, folder):
        for count in range(1, len(parts) + 1):
            module = start.joinpath(*parts[:count])
            _collect(module.with_name(f"{module.name}.py"), folder, digests)
            _collect(module / "__init__.py", folder, digests)


def _imports(tree: ast.AST, file: Path, folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Where each import of a module begins to look, and the module's name in parts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [(folder, alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = file.parents[node.level - 1] if node.level else folder
            stem = node.module.split(".") if node.module else []
            found = [(start, [*stem, alias.name]) for alias in node.names]
        else:
            continue
        yield from (one for one in found if one[1][0] not in sys.stdlib_module_names)
