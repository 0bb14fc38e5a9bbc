"""Formulas for the page: the part of LaTeX that they need, as MathML, which browsers typeset themselves."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\d+(?:\.\d+)?(?:e[+-]?\d+)?|\s+|.")
_SYMBOLS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eta": "η", "lambda": "λ",
    "pi": "π", "sigma": "σ", "theta": "θ",
}  # fmt: skip
_OPERATORS = {
    "leftarrow": "←", "cdot": "·", "times": "×", "le": "≤", "sim": "∼", "in": "∈", "odot": "⊙", "sum": "∑",
    "infty": "∞", "dots": "…", "top": "⊤",
}  # fmt: skip
_SPACES = {",": "0.17em", "quad": "1em"}
_OPENING = ("", "(", "[", ",", "\\,", "=")
"""What a sign after it belongs to the number that follows."""
_MINUS = "\u2212"


def typeset(latex: str, block: bool = True) -> Markup:
    r"""LaTeX as a MathML element.

    Args:
        latex: Letters, numbers, operators, sub- and superscripts, groups, ``\frac``, ``\sqrt``, ``\hat``,
            ``\operatorname``, ``\text``, Greek letters and a few symbols.
        block: Whether the formula stands on a line of its own.

    Raises:
        ValueError: A command that is none of these, or groups that are not closed.
    """
    display = "block" if block else "inline"
    return Markup('<math display="{}">{}</math>').format(display, _Reader(latex).all())


class _Reader:
    """A recursive descent over the tokens of a formula."""

    def __init__(self, latex: str) -> None:
        self._tokens = list(_TOKEN.findall(latex))
        self._at, self._last = 0, ""

    def all(self) -> Markup:
        row = self._row()
        if self._at < len(self._tokens):
            raise ValueError("a } too many in a formula")
        return row

    def _row(self) -> Markup:
        items = []
        while self._peek() not in ("", "}"):
            items.append(self._scripts(self._atom()))
        return items[0] if len(items) == 1 else Markup("<mrow>{}</mrow>").format(Markup().join(items))

    def _scripts(self, base: Markup) -> Markup:
        scripts = {}
        while self._peek() in ("_", "^"):
            kind = self._next()
            scripts[kind] = self._atom()
        if len(scripts) == 2:
            return Markup("<msubsup>{}{}{}</msubsup>").format(base, scripts["_"], scripts["^"])
        if "_" in scripts:
            return Markup("<msub>{}{}</msub>").format(base, scripts["_"])
        return Markup("<msup>{}{}</msup>").format(base, scripts["^"]) if scripts else base

    def _atom(self) -> Markup:
        before, token = self._last, self._next()
        if token == "{":
            row = self._row()
            if self._next() != "}":
                raise ValueError("a { is not closed in a formula")
            return row
        if token.startswith("\\"):
            return self._command(token[1:])
        if token[0].isdigit():
            return Markup("<mn>{}</mn>").format(token)
        if token.isalpha():
            return Markup("<mi>{}</mi>").format(token)
        if token in "()[]|":
            return Markup('<mo stretchy="false" lspace="0" rspace="0">{}</mo>').format(token)
        if token in "+-" and before in _OPENING:
            return Markup('<mo form="prefix">{}</mo>').format(_MINUS if token == "-" else token)
        return Markup("<mo>{}</mo>").format(_MINUS if token == "-" else token)

    def _command(self, name: str) -> Markup:
        if name == "frac":
            return Markup("<mfrac>{}{}</mfrac>").format(self._atom(), self._atom())
        if name == "sqrt":
            return Markup("<msqrt>{}</msqrt>").format(self._atom())
        if name == "hat":
            return Markup('<mover accent="true">{}<mo stretchy="false">^</mo></mover>').format(self._atom())
        if name == "operatorname":
            return Markup('<mi mathvariant="normal">{}</mi>').format(self._word())
        if name == "text":
            return Markup("<mtext>{}</mtext>").format(self._word())
        if name in _SYMBOLS:
            return Markup("<mi>{}</mi>").format(_SYMBOLS[name])
        if name in _OPERATORS:
            return Markup("<mo>{}</mo>").format(_OPERATORS[name])
        if name in _SPACES:
            return Markup('<mspace width="{}"/>').format(_SPACES[name])
        raise ValueError(f"formulas do not know \\{name}")

    def _word(self) -> Markup:
        if self._peek(skip=True) != "{":
            raise ValueError("a { is missing in a formula")
        self._next()
        letters = []
        while (token := self._next(skip=False)) != "}":
            letters.append(token)
        return escape("".join(letters))

    def _peek(self, skip: bool = True) -> str:
        while skip and self._at < len(self._tokens) and self._tokens[self._at].isspace():
            self._at += 1
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self, skip: bool = True) -> str:
        token = self._peek(skip)
        if not token:
            raise ValueError("a formula ends too early")
        self._at += 1
        self._last = token
        return token
