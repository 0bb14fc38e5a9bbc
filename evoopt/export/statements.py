"""What statements of exported classes are made of, and how they are broken into lines."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

NUMBER, PYTHON, EACH, LIST = range(4)
"""What an expression is: a number, a number of Python or in a tensor for each tensor, or all tensors."""

_WIDTH = 84


def many(name: str) -> str:
    """Name of a list of tensors."""
    if name == "matrix":
        return "matrices"
    return f"all_{name}" if name.endswith(("s", "ed")) else f"{name}s"


def text_of(node: ast.AST) -> str:
    """An expression as a formatter writes it."""
    return re.sub(r"(\w+) \*\* (\w+)", r"\1**\2", ast.unparse(node))


class Kinds:
    """Tells what expressions are, given the names of what is a tensor."""

    def __init__(self, tensors: Iterable[str]) -> None:
        self._kinds = dict.fromkeys(tensors, LIST) | {"step": EACH}

    def kind(self, node: ast.AST) -> int:
        """One of the kinds above."""
        if isinstance(node, ast.Name):
            return self._kinds.get(node.id, NUMBER)
        kind = max((self.kind(child) for child in ast.iter_child_nodes(node)), default=NUMBER)
        if kind == LIST and reduces(node):
            return EACH
        is_python = isinstance(node, ast.Attribute) and node.attr in ("dtype", "numel", "shape")
        return PYTHON if kind == LIST and is_python else kind


def reduces(node: ast.AST) -> bool:
    """Whether one number is made of a tensor."""
    return isinstance(node, ast.Call) and (
        ast.unparse(node.func) == "torch.linalg.vector_norm"
        or (isinstance(node.func, ast.Attribute) and node.func.attr == "mean" and not node.args)
    )


def wrapped(before: str, text: str, after: str = "", width: int = _WIDTH) -> list[str]:
    """A statement in lines as a formatter breaks them, what is in brackets in lines of its own."""
    if len(before) + len(text) + len(after) <= width:
        return [before + text + after]
    head, inside, tail = re.fullmatch(r"([^(\[]*[(\[])(.*)([)\]])", text).groups()  # type: ignore[union-attr]
    return [before + head, *(f"    {line}" for line in _parts(inside, width - 4)), tail + after]


def _parts(inside: str, width: int) -> list[str]:
    if len(inside) <= width:
        return [inside]
    source = f"f({inside})"
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call)
    if isinstance(call.args[0], ast.GeneratorExp):
        element, _, rest = inside.partition(" for ")
        names, _, values = rest.partition(" in ")
        return [element, *wrapped(f"for {names} in ", values, width=width)]
    parts = [ast.get_source_segment(source, part) or "" for part in (*call.args, *call.keywords)]
    comma = "," if len(parts) > 1 else ""
    return [line for part in parts for line in wrapped("", part, comma, width)]
