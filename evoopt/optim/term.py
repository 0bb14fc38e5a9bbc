"""What is said of a term, all in one place: its formula, what it reads, and its code in every form."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class TermInputs(NamedTuple):
    """What a term may look at; all tensors have the parameter's shape (or broadcast to it).

    Attributes:
        g: Gradient, after clipping.
        m: First moment, bias-corrected if the rule asks for it; equals ``g`` when the rule keeps none.
        denom: ``sqrt(v) + eps`` with the second moment ``v`` treated like ``m``.
        m_prev: Raw first moment before this step; equals ``g`` when the rule keeps none.
        eps: Numerical constant.
        nesterov_beta: Weight of ``g - m`` in the Nesterov term.
        beta3: Weight of ``m_prev`` in the Lion term.
        m2: Slow moment, its bias not corrected; equals ``g`` when the rule keeps none. Like ``power`` it is
            only needed where a term reads it.
        power: Exponent of the gradient in the power term.
    """

    g: Tensor
    m: Tensor
    denom: Tensor
    m_prev: Tensor
    eps: float | Tensor
    nesterov_beta: float | Tensor
    beta3: float | Tensor
    m2: Tensor = None  # type: ignore[assignment]
    power: float | Tensor = 0.5


@dataclass(frozen=True)
class Average:
    """A sum of gradient and moments: all terms of this form take one pass over each.

    Attributes:
        g: Factor of the gradient in Python, with ``{weight}`` and ``{nesterov_beta}``; empty for none.
        m: Factor of the first moment, likewise.
        m2: Factor of the slow moment, likewise.
    """

    g: str = ""
    m: str = ""
    m2: str = ""


@dataclass(frozen=True)
class Quotient:
    """A quotient: all terms of this form share their denominators.

    Attributes:
        numerator: ``"g"``, ``"m"`` or ``"m2"``.
        over: ``"v"`` for the denominator ``sqrt(v) + eps``, ``"g"`` for ``|g| + eps``.
    """

    numerator: Literal["g", "m", "m2"]
    over: Literal["g", "v"]


@dataclass(frozen=True)
class Calls:
    """Operations of ``torch`` that exist for a tensor and for a list of them (``torch._foreach_*``).

    Attributes:
        first: What makes a temporary: its name; ``"g"`` or ``"m"`` (the raw first moment) for what it is
            made of; its arguments, as ``"gradient"``, ``"sign(gradient)"`` and constants.
        rest: What then changes that temporary in place, each with its arguments.
    """

    first: tuple[str, ...]
    rest: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Term:
    """One primitive: an elementwise function of the gradient and its moments.

    Attributes:
        name: Identifier used in genomes, files and search spaces.
        aliases: Other names that are understood.
        source: Where it was published.
        formula: The definition in plain text without spaces, in ``g``, the names of ``uses`` (``beta1`` for
            ``nesterov_beta``), ``sign``, ``sqrt`` and ``|x|``.
        latex: The same for typesetting, with what `evoopt.report.mathml.typeset` knows.
        uses: Which of ``"m"``, ``"v"``, ``"m_prev"``, ``"eps"``, ``"nesterov_beta"``, ``"beta3"``, ``"m2"``,
            ``"power"`` it reads, besides the gradient.
        without_m: Name of the term it becomes when the rule keeps no first moment (``m := g``); None if it
            stays itself.
        without_m2: The same for the slow moment.
        function: The formula on tensors. Finite wherever its inputs are: members that do not use the term
            compute it too, times zero.
        cpp: The formula in C++ on vectors, in the names of `TermInputs`, ``sign``, ``abs`` and ``sqrt``;
            torch computes a term without it.
        form: What an exported class computes.
    """

    name: str
    aliases: tuple[str, ...] = ()
    source: str
    formula: str
    latex: str
    uses: frozenset[str]
    without_m: str | None = None
    without_m2: str | None = None
    function: Callable[[TermInputs], Tensor]
    cpp: str | None = None
    form: Average | Quotient | Calls

    @property
    def is_sum(self) -> bool:
        """Whether the formula needs brackets as a factor."""
        outside = self.formula
        while "(" in outside:
            outside = re.sub(r"\([^()]*\)", "", outside)
        return "+" in outside or "-" in outside

    @property
    def reads_scale_of_m(self) -> bool:
        """Whether correcting the bias of the first moment changes the term; it does not change a sign."""
        return "m" in self.uses and not isinstance(self.form, Calls)
