"""Names of an exported class, of its functional form and of its file."""

from __future__ import annotations

import builtins
import keyword
import re
import sys
import unicodedata
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

from evoopt.errors import EvooptError

IMPORTED: frozenset[str] = frozenset(
    {"Any", "Callable", "Iterable", "Iterator", "Optimizer", "ParamsT", "Sequence", "Tensor", "cast"}
    | {"contextmanager", "functools", "math", "overload", "torch", "warnings"}
)
"""Names a generated file imports; a class of the same name would hide them."""


def check_class_name(name: str) -> None:
    """Make sure a generated class can bear a name.

    Raises:
        EvooptError: No identifier, a keyword, or a name that the file needs for something else.
    """
    if not name.isidentifier():
        raise EvooptError(f"class name {name!r} is not a Python identifier; use one such as MyOptimizer")
    if unicodedata.normalize("NFKC", name) != name:
        raise EvooptError(f"Python would spell class name {name!r} otherwise; use a name such as MyOptimizer")
    if keyword.iskeyword(name):
        raise EvooptError(f"class name {name!r} is a Python keyword; use a name such as MyOptimizer")
    if name.startswith("_"):
        raise EvooptError(
            f"class name {name!r} is private, it starts with '_'; use a name such as MyOptimizer"
        )
    if _taken(name):
        raise EvooptError(
            f"class name {name!r} would hide what the file uses; use a name such as MyOptimizer"
        )


def check_file_name(path: Path) -> None:
    """Make sure that a class can be imported from a file.

    Raises:
        EvooptError: No Python file, a name that no import can spell, or that of a module of others.
    """
    name = path.stem
    taken = _modules()
    if path.suffix == ".py" and _importable(name) and name not in taken:
        return
    better = re.sub(r"\W", "_", name)
    if not _importable(better) or better in taken:
        better = f"my_{better}"
    reason = f"would hide the module {name!r}" if name in taken else "could not be imported"
    raise EvooptError(f"{path} {reason}: name the file {path.with_name(better)}.py, for one")


def function_name(class_name: str) -> str:
    """Name of the functional form: lower case as in `torch.optim`, followed by ``_`` where that is taken."""
    name = class_name.lower()
    return f"{name}_" if name == class_name or keyword.iskeyword(name) or _taken(name) else name


@cache
def _modules() -> frozenset[str]:
    # Cached, because the files of every installed package are looked at.
    return sys.stdlib_module_names | packages_distributions().keys()


def _importable(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def _taken(name: str) -> bool:
    return name in IMPORTED or hasattr(builtins, name)
