"""The primitive terms an update direction is a weighted sum of.

Every term is one elementwise function of the same few inputs, so a population of different rules is a table
of coefficients over this list. To add a term, append one entry to `TERMS` and one line to
`evoopt.optim.scalar`; the contract tests run over the registry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from evoopt.errors import unknown_name


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
    """

    g: Tensor
    m: Tensor
    denom: Tensor
    m_prev: Tensor
    eps: float | Tensor
    nesterov_beta: float | Tensor
    beta3: float | Tensor


@dataclass(frozen=True)
class Term:
    """One primitive.

    Attributes:
        name: Identifier used in genomes, files and search spaces.
        code: Integer code; 0 to 6 are those of Marfinetz (2025).
        formula: The term in plain text.
        latex: The term for typesetting.
        uses: Which of ``"m"``, ``"v"``, ``"m_prev"``, ``"eps"`` it reads, besides the gradient.
        without_m: Name of the term it becomes when the rule keeps no first moment (``m := g``).
        function: The formula on tensors.
    """

    name: str
    code: int
    formula: str
    latex: str
    uses: frozenset[str]
    without_m: str
    function: Callable[[TermInputs], Tensor]


def _lion(x: TermInputs) -> Tensor:
    # Written as Lion's publication does, so that the sign agrees with it in exact zeros too.
    return torch.sign(x.m_prev * x.beta3 + x.g * (1 - x.beta3))


TERMS: tuple[Term, ...] = (
    Term("grad", 0, "g", r"g", frozenset(), "grad", lambda x: x.g),
    Term("momentum", 1, "m", r"\hat m", frozenset({"m"}), "grad", lambda x: x.m),
    Term(
        "rms_norm", 2, "g/(sqrt(v)+eps)", r"\frac{g}{\sqrt{\hat v}+\epsilon}", frozenset({"v", "eps"}),
        "rms_norm", lambda x: x.g / x.denom,
    ),
    Term(
        "adam", 3, "m/(sqrt(v)+eps)", r"\frac{\hat m}{\sqrt{\hat v}+\epsilon}", frozenset({"m", "v", "eps"}),
        "rms_norm", lambda x: x.m / x.denom,
    ),
    Term(
        "sign_grad", 4, "sign(g)", r"\operatorname{sign}(g)", frozenset(), "sign_grad",
        lambda x: torch.sign(x.g),
    ),
    Term(
        "unit_grad", 5, "g/(|g|+eps)", r"\frac{g}{|g|+\epsilon}", frozenset({"eps"}), "unit_grad",
        lambda x: x.g / (x.g.abs() + x.eps),
    ),
    Term(
        "nesterov", 6, "m+beta1*(g-m)", r"\hat m+\beta_1(g-\hat m)", frozenset({"m"}), "grad",
        lambda x: x.m + x.nesterov_beta * (x.g - x.m),
    ),
    Term(
        "sign_momentum", 7, "sign(m)", r"\operatorname{sign}(m)", frozenset({"m"}), "sign_grad",
        lambda x: torch.sign(x.m),
    ),
    Term(
        "lion", 8, "sign(beta3*m_prev+(1-beta3)*g)", r"\operatorname{sign}(\beta_3 m_{t-1}+(1-\beta_3)g)",
        frozenset({"m", "m_prev"}), "sign_grad", _lion,
    ),
)  # fmt: skip
"""All primitives. Codes 0-6: Marfinetz (2025), section 3; 7 and 8: Chen et al. (2023), "Symbolic Discovery of
Optimization Algorithms" (Lion), algorithm 2."""

TERM_BY_NAME: dict[str, Term] = {term.name: term for term in TERMS}
TERM_BY_CODE: dict[int, Term] = {term.code: term for term in TERMS}
ALIASES: dict[str, str] = {"sqrt_grad": "unit_grad", "adam_term": "adam"}
PAPER_TERMS: tuple[str, ...] = tuple(term.name for term in TERMS if term.code <= 6)


def term(name: str) -> Term:
    """Look a term up by name or alias.

    Raises:
        EvooptError: No such term; the message names the nearest one.
    """
    try:
        return TERM_BY_NAME[ALIASES.get(name, name)]
    except (KeyError, TypeError):
        raise unknown_name("term", str(name), TERM_BY_NAME) from None
