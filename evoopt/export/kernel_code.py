"""Statements of a step on one tensor, rewritten for a compiler, which gets numbers in a tensor."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence

from evoopt.export.statements import LIST, NUMBER, Kinds, text_of

_NO_NUMBERS = {"math", "max", "min", "torch"}


def kernel_lines(lines: Sequence[str], tensors: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Those for a compiler, and the numbers that Python computes for them, by name.

    A number is a tensor there, so that nothing is compiled anew for another one, and nothing is computed of
    numbers, which would be done for every element.
    """
    kernel = _Kernel(tensors)
    found = [kernel.statement(line) for line in lines]
    return [line for line in found if line], kernel.numbers


class _Kernel(ast.NodeTransformer, Kinds):
    def __init__(self, tensors: Iterable[str]) -> None:
        Kinds.__init__(self, tensors)
        self.numbers: dict[str, str] = {}

    def statement(self, line: str) -> str:
        statement = ast.parse(line).body[0]
        if isinstance(statement, ast.Assign):
            (target,) = statement.targets
            assert isinstance(target, ast.Name)
            if self._is_number(statement.value):
                self.numbers[target.id] = text_of(statement.value)
                return ""
            self._kinds[target.id] = LIST
        return text_of(self.visit(statement))

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.expr) and self._is_number(node):
            name = _number_name(text_of(node))
            self.numbers.setdefault(name, text_of(node))
            return ast.Name(name)
        visited: ast.AST = super().visit(node)
        return visited

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "addcmul_":
            # whose value has to be a number
            first, second, value = *node.args, node.keywords[0].value
            node.func.attr, node.keywords = "add_", []
            node.args = [ast.BinOp(ast.BinOp(first, ast.Mult(), second), ast.Mult(), value)]
        return node

    def _is_number(self, node: ast.AST) -> bool:
        names = [n.id for n in ast.walk(node) if isinstance(n, ast.Name)]
        simple = all(
            isinstance(n, ast.Name | ast.Constant | ast.BinOp | ast.UnaryOp | ast.Compare)
            for n in ast.walk(node)
            if isinstance(n, ast.expr)
        )
        known = all(self._kinds.get(name, NUMBER) < LIST and name not in _NO_NUMBERS for name in names)
        return bool(names) and simple and known


def _number_name(text: str) -> str:
    if text == "1 - lr * weight_decay":
        return "decay"
    text = re.sub(r"1 - beta(\d)\*\*step", r"bias_correction\1", text)
    text = re.sub(r"1 - (\w+)", r"rest_of_\1", text)
    return re.sub(r"\W+", "_", text).strip("_")
