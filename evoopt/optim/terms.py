"""The primitive terms an update direction is a weighted sum of.

Every term is one elementwise function of the same few inputs, so a population of different rules is a table
of coefficients over this list. To add a term, append one entry: tables, kernel, exported classes, reports and
the contract tests are made of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from evoopt.errors import unknown_name
from evoopt.optim.term import Average, Calls, Quotient, Term, TermInputs

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MORE_TERMS", "PAPER_TERMS", "TERMS", "TERM_BY_NAME", "Term", "TermInputs", "term", "weighted_sum"]

_PAPER = "Marfinetz (2025), section 3"
_LION = 'Chen et al. (2023), "Symbolic Discovery of Optimization Algorithms" (Lion), algorithm 2'
_ADEMAMIX = 'Pagliardini et al. (2024), "The AdEMAMix Optimizer", algorithm 1'

TERMS: tuple[Term, ...] = (
    Term(
        name="grad",
        source=_PAPER,
        formula="g",
        latex="g",
        uses=frozenset(),
        function=lambda x: x.g,
        cpp="g",
        form=Average(g="{weight}"),
    ),
    Term(
        name="momentum",
        source=_PAPER,
        formula="m",
        latex=r"\hat m",
        uses=frozenset({"m"}),
        without_m="grad",
        function=lambda x: x.m,
        cpp="m",
        form=Average(m="{weight}"),
    ),
    Term(
        name="rms_norm",
        source=_PAPER,
        formula="g/(sqrt(v)+eps)",
        latex=r"\frac{g}{\sqrt{\hat v}+\epsilon}",
        uses=frozenset({"v", "eps"}),
        function=lambda x: x.g / x.denom,
        cpp="g / denom",
        form=Quotient("g", over="v"),
    ),
    Term(
        name="adam",
        aliases=("adam_term",),
        source=_PAPER,
        formula="m/(sqrt(v)+eps)",
        latex=r"\frac{\hat m}{\sqrt{\hat v}+\epsilon}",
        uses=frozenset({"m", "v", "eps"}),
        without_m="rms_norm",
        function=lambda x: x.m / x.denom,
        cpp="m / denom",
        form=Quotient("m", over="v"),
    ),
    Term(
        name="sign_grad",
        source=_PAPER,
        formula="sign(g)",
        latex=r"\operatorname{sign}(g)",
        uses=frozenset(),
        function=lambda x: x.g.sign(),
        cpp="sign(g)",
        form=Calls(("sign", "g")),
    ),
    Term(
        name="unit_grad",
        aliases=("sqrt_grad",),
        source=_PAPER,
        formula="g/(|g|+eps)",
        latex=r"\frac{g}{|g|+\epsilon}",
        uses=frozenset({"eps"}),
        function=lambda x: x.g / (x.g.abs() + x.eps),
        cpp="g / (abs(g) + eps)",
        form=Quotient("g", over="g"),
    ),
    Term(
        name="nesterov",
        source=_PAPER,
        formula="m+beta1*(g-m)",
        latex=r"\hat m+\beta_1(g-\hat m)",
        uses=frozenset({"m", "nesterov_beta"}),
        without_m="grad",
        function=lambda x: x.m + x.nesterov_beta * (x.g - x.m),
        cpp="m + nesterov_beta * (g - m)",
        form=Average(g="{weight} * {nesterov_beta}", m="{weight} * (1 - {nesterov_beta})"),
    ),
    Term(
        name="sign_momentum",
        source=_LION,
        formula="sign(m)",
        latex=r"\operatorname{sign}(m)",
        uses=frozenset({"m"}),
        without_m="sign_grad",
        function=lambda x: x.m.sign(),
        cpp="sign(m)",
        form=Calls(("sign", "m")),
    ),
    Term(
        name="lion",
        source=_LION,
        formula="sign(beta3*m_prev+(1-beta3)*g)",
        latex=r"\operatorname{sign}(\beta_3 m_{t-1}+(1-\beta_3)g)",
        uses=frozenset({"m_prev", "beta3"}),
        without_m="sign_grad",
        # In the order of Lion's publication, so that the sign agrees with it in exact zeros too.
        function=lambda x: (x.m_prev * x.beta3 + x.g * (1 - x.beta3)).sign(),
        cpp="sign(m_prev * beta3 + g * (1 - beta3))",
        form=Calls(("lerp", "m", "gradient", "1 - beta3"), (("sign",),)),
    ),
)
"""All primitives, in the order in which a rule adds them up; first codes 0 to 6 of Marfinetz (2025)."""

MORE_TERMS: tuple[Term, ...] = (
    Term(
        name="slow_momentum",
        source=_ADEMAMIX,
        formula="m2",
        latex="m_2",
        uses=frozenset({"m2"}),
        without_m2="grad",
        function=lambda x: x.m2,
        form=Average(m2="{weight}"),
    ),
    Term(
        name="slow_adam",
        source=_ADEMAMIX,
        formula="m2/(sqrt(v)+eps)",
        latex=r"\frac{m_2}{\sqrt{\hat v}+\epsilon}",
        uses=frozenset({"m2", "v", "eps"}),
        without_m2="rms_norm",
        function=lambda x: x.m2 / x.denom,
        form=Quotient("m2", over="v"),
    ),
    Term(
        name="power_grad",
        source='Zhou et al. (2020), "pbSGD: Powered Stochastic Gradient Descent Methods"',
        formula="sign(g)*|g|**power",
        latex=r"\operatorname{sign}(g)|g|^p",
        uses=frozenset({"power"}),
        function=lambda x: x.g.sign() * x.g.abs() ** x.power,
        form=Calls(("abs", "g"), (("pow", "power"), ("mul", "sign(gradient)"))),
    ),
)
"""Primitives that a rule, its interpreter and its exported class know, but no table, kernel or genome."""

TERM_BY_NAME: dict[str, Term] = {term.name: term for term in (*TERMS, *MORE_TERMS)}
PAPER_TERMS: tuple[str, ...] = tuple(term.name for term in TERMS if term.source == _PAPER)

_ALIASES = {alias: term.name for term in TERMS for alias in term.aliases}


def term(name: str) -> Term:
    """Look a term up by name or alias.

    Raises:
        EvooptError: No such term; the message names the nearest one.
    """
    try:
        return TERM_BY_NAME[_ALIASES.get(name, name)]
    except (KeyError, TypeError):
        raise unknown_name("term", str(name), TERM_BY_NAME) from None


def weighted_sum(weights: Iterable[tuple[str, float | Tensor]], inputs: TermInputs) -> Tensor | None:
    """The direction of an update: some terms by name, each times its weight, in order; None without terms."""
    total: Tensor | None = None
    for name, weight in weights:
        value = TERM_BY_NAME[name].function(inputs) * weight
        total = value if total is None else total + value
    return total
