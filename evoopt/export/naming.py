"""Names of an exported class and of its functional form."""

from __future__ import annotations

import builtins
import keyword
import unicodedata

from evoopt.errors import EvooptError

IMPORTED: frozenset[str] = frozenset(
    {"Any", "Callable", "Optimizer", "ParamsT", "Tensor", "cast", "math", "overload", "torch", "warnings"}
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


def function_name(class_name: str) -> str:
    """Name of the functional form: lower case as in `torch.optim`, followed by ``_`` where that is taken."""
    name = class_name.lower()
    return f"{name}_" if name == class_name or keyword.iskeyword(name) or _taken(name) else name


def _taken(name: str) -> bool:
    return name in IMPORTED or hasattr(builtins, name)
