"""The rooms of the package stand one above the other: each imports only from those below it."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import evoopt

PACKAGE = Path(evoopt.__file__).parent

ROOMS = (
    "errors", "version", "first_use", "individuals", "optim", "execution", "tasks", "training", "config",
    "jobs", "evolution", "runs", "export", "integrations", "callbacks", "compare", "report",
    "systems", "api", "cli",
)  # fmt: skip
"""From the bottom to the top. `evoopt` itself, which hands out the API, stands above all."""

OF_EVERY_TYPE = {"__init__", "config", "scheme", "text"}
"""Modules that each folder of `evoopt.systems` may have."""


def modules() -> Iterator[Path]:
    return (path for path in sorted(PACKAGE.rglob("*.py")) if "generated" not in path.parts)


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


NAMED_ABOVE = {"individuals.py", "optim/__init__.py"}
"""Who may name modules above it in strings: the table of types, and former names of what moved up."""


def nodes(path: Path) -> list[ast.AST]:
    return [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]


def imports(path: Path, nodes: list[ast.AST]) -> Iterator[str]:
    """Modules of evoopt that a file names: at its top, inside a function, for types alone."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            # `from evoopt import x` may name a room.
            yield from (
                [f"evoopt.{a.name}" for a in node.names] if node.module == "evoopt" else [node.module or ""]
            )


def strings(path: Path, nodes: list[ast.AST]) -> Iterator[str]:
    """Modules that a file names in strings, to import them as it runs."""
    if str(path.relative_to(PACKAGE)) in NAMED_ABOVE:
        return
    for node in nodes:
        if isinstance(node, ast.Constant) and re.fullmatch(r"evoopt(\.\w+)+(:[\w.]+)?", str(node.value)):
            module = str(node.value).partition(":")[0]
            if room(module) in ROOMS:  # others name kinds of files
                yield module


def test_no_room_imports_from_one_above_it() -> None:
    height = {name: k for k, name in enumerate(ROOMS)}
    upwards = []
    for path in modules():
        here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if here not in height:
            continue
        all_nodes = nodes(path)
        for module in [*imports(path, all_nodes), *strings(path, all_nodes)]:
            if module.split(".")[0] == "evoopt" and height.get(room(module), len(ROOMS)) > height[here]:
                upwards.append(f"{path.relative_to(PACKAGE)} imports {module}")
    assert not upwards, "\n".join([f"from the bottom to the top: {', '.join(ROOMS)}", *upwards])


def test_no_two_modules_have_the_same_name() -> None:
    names = Counter(path.stem for path in modules() if path.stem not in OF_EVERY_TYPE)
    assert {name for name, count in names.items() if count > 1} == set()
