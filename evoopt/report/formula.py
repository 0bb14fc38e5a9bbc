"""An update rule as typeset lines."""

from __future__ import annotations

from markupsafe import Markup

from evoopt.optim.rule import UpdateRule
from evoopt.optim.terms import TERM_BY_NAME
from evoopt.report.blocks import Formulas
from evoopt.report.mathml import typeset


def formulas(rule: UpdateRule) -> Formulas:
    """One step of a rule at step t of T, in the order in which it is done, with its constants."""
    rule = rule.canonical()
    return Formulas([typeset(line) for line in _lines(rule)], _constants(rule))


def _lines(rule: UpdateRule) -> list[str]:
    lines = []
    if rule.clip_value is not None:
        lines.append(r"g \leftarrow \operatorname{clip}(g,\,-c,\,c)")
    if rule.use_m:
        lines.append(r"m_t = \beta_1 m_{t-1} + (1-\beta_1) g")
    if rule.use_v:
        lines.append(r"v_t = \beta_2 v_{t-1} + (1-\beta_2) g^2")
    elif rule.uses("v"):
        lines.append(r"v_t = g^2")
    for name, beta, kept in (("m", "1", rule.use_m), ("v", "2", rule.use_v)):
        if kept and rule.bias_correction:
            lines.append(rf"\hat {name} = \frac{{{name}_t}}{{1-\beta_{beta}^t}}")
    schedule = r"\cdot\operatorname{min}(1,\,\frac{t}{t_w})" if rule.warmup_steps else ""
    if rule.cosine:
        schedule += r"\cdot\frac{1}{2}(1+\operatorname{cos}\,\frac{\pi(t-1)}{T})"
    if schedule:
        lines.append(rf"\eta_t = \eta{schedule}")
    rate = r"\eta_t" if schedule else r"\eta"
    decayed = rf"(1-{rate}\lambda)\,w_{{t-1}}" if rule.weight_decay else "w_{t-1}"
    direction = _sum(rule) if len(rule.terms) == 1 and rule.terms[0][1] > 0 else f"[{_sum(rule)}]"
    lines.append(rf"w_t = {decayed} - {rate}\,{direction}")
    return lines


def _sum(rule: UpdateRule) -> str:
    if not rule.terms:
        return "0"
    parts = [f"{_coefficient(weight)} {_term(name, rule)}" for name, weight in rule.terms]
    return " ".join(parts).removeprefix("+")


def _term(name: str, rule: UpdateRule) -> str:
    term = TERM_BY_NAME[name]
    latex = term.latex
    for moment, kept in (("m", rule.use_m), ("v", rule.use_v)):
        if not (kept and rule.bias_correction):
            latex = latex.replace(rf"\hat {moment}", f"{moment}_t")
    if "nesterov_beta" in term.uses and rule.nesterov_beta is not None:
        latex = latex.replace(r"\beta_1", _number(rule.nesterov_beta))
    return f"({latex})" if term.is_sum else rf"\,{latex}"


def _constants(rule: UpdateRule) -> list[tuple[Markup, str, str]]:
    rows: list[tuple[str, str, float | None]] = [
        (r"\eta", "learning rate", rule.lr),
        (r"\beta_1", "decay of the first moment", rule.beta1 if rule.use_m else None),
        (r"\beta_2", "decay of the second moment", rule.beta2 if rule.use_v else None),
        (r"\beta_3", "weight of the previous moment", rule.beta3 if rule.uses("beta3") else None),
        (r"\epsilon", "numerical constant", rule.eps if rule.uses("eps") else None),
        (r"\lambda", "weight decay", rule.weight_decay or None),
        ("c", "bound of each gradient element", rule.clip_value),
        ("t_w", "steps of warmup", rule.warmup_steps or None),
    ]
    return [
        (typeset(symbol, block=False), name, f"{value:.6g}")
        for symbol, name, value in rows
        if value is not None
    ]


def _coefficient(weight: float) -> str:
    return ("+" if weight > 0 else "-") if abs(weight) == 1 else _number(weight, sign=True)


def _number(value: float, sign: bool = False) -> str:
    mantissa, _, exponent = format(value, "+.4g" if sign else ".4g").partition("e")
    return rf"{mantissa}\times 10^{{{int(exponent)}}}" if exponent else mantissa
