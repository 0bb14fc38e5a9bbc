"""Statements of a step on one tensor, rewritten for lists of tensors.

One tensor's statements stay the definition: lists get the same operations in the same order as calls of
``torch._foreach_*``, and what has no such call is made for one tensor after another.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Sequence

from evoopt.export.statements import EACH, LIST, PYTHON, Kinds, many, reduces, text_of, wrapped

_OPERATORS: dict[type[ast.operator], str] = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}
_METHODS = {"abs", "clamp", "lerp", "mul", "pow", "sign", "sqrt"}


def foreach_lines(lines: Sequence[str], tensors: Iterable[str]) -> list[str]:
    """Those for lists of tensors, named in the plural.

    Args:
        lines: Statements on one tensor.
        tensors: Names of what is a tensor before them.
    """
    return _Lists(lines, tensors).lines


class _Lists(Kinds):
    def __init__(self, lines: Sequence[str], tensors: Iterable[str]) -> None:
        super().__init__(tensors)
        self.lines: list[str] = []
        self._owned: set[str] = set()  # lists of temporaries, which may change in place
        self._scratch = 0
        parsed = [ast.parse(line).body[0] for line in lines]
        reads = [Counter(n.id for n in ast.walk(s) if isinstance(n, ast.Name)) for s in parsed]
        for k, statement in enumerate(parsed):
            ending = set(reads[k]).difference(*reads[k + 1 :])
            self._scratch = 0
            self._last = {name for name in ending if reads[k][name] == 1}
            self._statement(statement)
            done = [many(name) for name in sorted(self._owned & ending)]
            done += [f"scratch{k or ''}" for k in range(self._scratch)]
            if done and k < len(parsed) - 1:
                self.lines.append(f"del {', '.join(done)}")  # before there is another temporary

    def _statement(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Expr):
            self._changes(statement.value)
            return
        assert isinstance(statement, ast.Assign)
        (target,), value = statement.targets, statement.value
        assert isinstance(target, ast.Name)
        kind = self.kind(value)
        if kind == LIST:
            # A list under its name must not replace one that is read after it.
            found, own = self._list(value, "" if target.id in self._read(value)[1:] else target.id)
            if found != many(target.id):
                self._write(f"{many(target.id)} = ", found)
            self._owned = self._owned | {target.id} if own else self._owned - {target.id}
        else:
            self._write(f"{target.id} = ", self._each(value))
        self._kinds[target.id] = kind

    def _read(self, node: ast.AST) -> list[str]:
        """Names of the lists that an expression reads, call after call."""
        if isinstance(node, ast.Name):
            return [node.id]
        if isinstance(node, ast.BinOp) and isinstance(node.left, ast.Name) and self.kind(node.right) == EACH:
            return [node.left.id]
        children = ast.iter_child_nodes(node) if self.kind(node) in (EACH, LIST) else ()
        return [name for child in children for name in self._read(child)]

    def _changes(self, node: ast.expr) -> str:
        """Calls that change a list in place, one after another; returns its name."""
        if isinstance(node, ast.Name):
            return many(node.id)
        assert isinstance(node, ast.Call)
        assert isinstance(node.func, ast.Attribute)
        of = self._changes(node.func.value)
        values = [*node.args, *(keyword.value for keyword in node.keywords)]
        self._call("", node.func.attr, of, *map(self._operand, values))
        return of

    def _operand(self, node: ast.expr) -> str:
        kind = self.kind(node)
        if kind == LIST:
            return self._list(node, "")[0]
        if kind == PYTHON:
            return self._one_by_one(node, "[]")
        return f"_of_each({self._each(node)})" if kind == EACH else text_of(node)

    def _list(self, node: ast.expr, target: str) -> tuple[str, bool]:
        """Make a list, a nameless one without a target; returns its text, and whether it may change."""
        if isinstance(node, ast.Name):
            free = node.id == target or (not target and node.id in self._last)
            return many(node.id), free and node.id in self._owned
        if isinstance(node, ast.Call) and text_of(node.func) == "_newton_schulz":
            of, iterations = node.args
            return f"_newton_schulz_together({self._operand(of)}, {text_of(iterations)})", False
        if not self._has_calls(node):
            return self._one_by_one(node, "()"), False
        if isinstance(node, ast.BinOp):
            left, right = node.left, node.right
            if self.kind(left) != LIST:
                left, right = right, left
            made = self._list(left, target)
            return self._made(_OPERATORS[type(node.op)], *made, target, self._operand(right))
        if isinstance(node, ast.Compare):  # with 0, as 0 or 1
            made = self._list(node.left, target)
            if not all(text_of(n).endswith(".sign()") for n in _factors(node.left)):
                made = self._made("sign", *made, target)
            if isinstance(node.ops[0], ast.Gt):
                return self._made("clamp_min", *made, target, "0")
            made = self._made("add", *made, target, "1")
            return self._made("clamp_max", *made, target, "1")
        assert isinstance(node, ast.Call)
        assert isinstance(node.func, ast.Attribute)
        made, name = self._list(node.func.value, target), node.func.attr
        if name == "to":  # of what was compared
            return made
        if name != "clamp":
            return self._made(name, *made, target, *map(self._operand, node.args))
        bounds = dict(zip(("min", "max"), node.args, strict=False))
        bounds |= {str(keyword.arg): keyword.value for keyword in node.keywords}
        for bound, value in bounds.items():
            made = self._made(f"clamp_{bound}", *made, target, self._operand(value))
        return made

    def _has_calls(self, node: ast.expr) -> bool:
        """Whether there are calls for lists of all that happens in an expression."""
        if self.kind(node) != LIST or isinstance(node, ast.Name):
            return True
        if isinstance(node, ast.BinOp):
            commutes = isinstance(node.op, ast.Add | ast.Mult)
            known = commutes or (type(node.op) in _OPERATORS and self.kind(node.left) == LIST)
            return known and self._has_calls(node.left) and self._has_calls(node.right)
        if isinstance(node, ast.Compare):
            return self._has_calls(node.left) and text_of(node.comparators[0]) == "0"
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            return False
        of = node.func.value
        known = node.func.attr in _METHODS or (node.func.attr == "to" and isinstance(of, ast.Compare))
        arguments = node.args if node.func.attr in _METHODS else ()
        return known and self._has_calls(of) and all(map(self._has_calls, arguments))

    def _made(self, name: str, of: str, own: bool, target: str, *arguments: str) -> tuple[str, bool]:
        if own:
            self._call("", f"{name}_", of, *arguments)
            return of, True
        made = many(target) if target else f"scratch{self._scratch or ''}"
        self._scratch += not target
        self._call(f"{made} = ", name, of, *arguments)
        return made, True

    def _call(self, before: str, name: str, *arguments: str) -> None:
        self._write(before, f"torch._foreach_{name}({', '.join(arguments)})")

    def _each(self, node: ast.expr) -> str:
        """Text of a number, or of one for each tensor in a tensor of one dimension."""
        if self.kind(node) == PYTHON or any(self.kind(n) == PYTHON for n in ast.walk(node)):
            return f"torch.stack({self._one_by_one(node, '[]')})"
        return text_of(_Reductions(self).visit(node))

    def _one_by_one(self, node: ast.expr, brackets: str) -> str:
        found = [n for n in ast.walk(node) if isinstance(n, ast.Name) and self.kind(n) in (EACH, LIST)]
        names = dict.fromkeys(n.id for n in sorted(found, key=lambda n: n.col_offset))
        lists = [many(name) if self._kinds[name] == LIST else name for name in names]
        source = f"zip({', '.join(lists)}, strict=True)" if len(lists) > 1 else lists[0]
        inside = f"{text_of(node)} for {', '.join(names)} in {source}"
        return f"[{inside}]" if brackets == "[]" else f"tuple({inside})"

    def reduced(self, node: ast.Call) -> str:
        """Text of a tensor with what is made of each tensor."""
        if isinstance(node.func, ast.Attribute) and node.func.attr == "mean":
            return f"torch.stack({self._one_by_one(node, '[]')})"
        return f"torch.stack(torch._foreach_norm({self._operand(node.args[0])}))"

    def _write(self, before: str, text: str) -> None:
        self.lines += wrapped(before, text)


def _factors(node: ast.expr) -> list[ast.expr]:
    is_product = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)
    return [*_factors(node.left), *_factors(node.right)] if is_product else [node]  # type: ignore[attr-defined]


class _Reductions(ast.NodeTransformer):
    def __init__(self, lists: _Lists) -> None:
        self._lists = lists

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if reduces(node) and self._lists.kind(node) == EACH:
            return ast.parse(self._lists.reduced(node), mode="eval").body
        return self.generic_visit(node)
