"""An update rule as typeset lines."""

from __future__ import annotations

from markupsafe import Markup

from evoopt.optim.rule import UpdateRule
from evoopt.optim.stages import Stage
from evoopt.optim.stages.annealing import DECAY_SHAPE_BY_NAME
from evoopt.optim.stages.readout import READOUT_BY_NAME
from evoopt.optim.terms import TERM_BY_NAME
from evoopt.report.blocks import Formulas
from evoopt.report.mathml import typeset


def formulas(rule: UpdateRule) -> Formulas:
    """One step of a rule at step t of T, in the order in which it is done, with its constants."""
    rule = rule.canonical()
    return Formulas([typeset(line) for line in _lines(rule)], _constants(rule))


def _lines(rule: UpdateRule) -> list[str]:
    moments = _moments_of_stages(rule) if rule.active else _moments(rule)
    schedule = _schedule(rule)
    rate = r"\eta_t" if schedule else r"\eta"
    direction = _sum(rule) if len(rule.terms) == 1 and rule.terms[0][1] > 0 else f"[{_sum(rule)}]"
    clip = [r"g \leftarrow \operatorname{clip}(g,\,-c,\,c)"] if rule.clip_value is not None else []
    after = [line for stage in rule.active if stage.part in _PASSED for line in _stage(stage, rule)]
    cautious = any(stage.part == "decay" for stage in rule.active)
    trust = rule.scale == "trust"
    if after or cautious:
        after, direction = [f"u = {direction}", *after], "u"
    decayed = rf"(1-{rate}\lambda)\,w_{{t-1}}" if rule.weight_decay and not cautious | trust else "w_{t-1}"
    decay = rf" - {rate}\,\lambda\,[0\le uw]\,w_{{t-1}}" if cautious and not trust else ""
    step = rf"w_t = {decayed}{decay} - {rate}\,{direction}"
    return [*clip, *moments, *schedule, *after, step, *_around(rule)]


_CHANGES = {"rows": "v_t = ", "factored": "v_t = ", "slow_beta": "m_2 = "}
_PASSED = ("mask", "shape", "scale")


def _stage(stage: Stage, rule: UpdateRule) -> list[str]:
    """What a stage changes and what that becomes."""
    changed = "g" if stage.part in ("gradient", "moments") else "u"
    latex = _raw_moments(stage.latex, rule)
    if stage.name == "trust" and rule.cautious_decay:
        latex = latex.replace(r"\lambda w", r"\lambda[0\le uw]\,w")
    return [_CHANGES.get(stage.name if stage.part == "moments" else "", rf"{changed} \leftarrow ") + latex]


def _moments(rule: UpdateRule) -> list[str]:
    lines = []
    if rule.use_m:
        lines.append(_M)
    if rule.use_v:
        lines.append(_V)
    elif rule.uses("v"):
        lines.append(r"v_t = g^2")
    return [*lines, *_unbiased("m", "1", rule.use_m, rule), *_unbiased("v", "2", rule.use_v, rule)]


def _moments_of_stages(rule: UpdateRule) -> list[str]:
    """The same where stages stand between, in the order of a step."""
    stages = {
        stage.name: _stage(stage, rule) for stage in rule.active if stage.part in ("gradient", "moments")
    }
    reads_v = rule.uses("v") or rule.normalize_first
    second = [_V] if rule.use_v else [r"v_t = g^2"] if reads_v else []
    return [
        *stages.get("gradient_difference", ()),
        *stages.get("clip_norm", ()),
        *stages.get("l2", ()),
        *stages.get(rule.second_moment, second),
        *_unbiased("v", "2", rule.use_v, rule),
        *stages.get("normalize_first", ()),
        *stages.get("slow_beta", ()),
        *([_M] if rule.use_m else ()),
        *_unbiased("m", "1", rule.use_m, rule),
    ]


_M = r"m_t = \beta_1 m_{t-1} + (1-\beta_1) g"
_V = r"v_t = \beta_2 v_{t-1} + (1-\beta_2) g^2"


def _unbiased(name: str, beta: str, kept: bool, rule: UpdateRule) -> list[str]:
    corrected = kept and rule.bias_correction
    return [rf"\hat {name} = \frac{{{name}_t}}{{1-\beta_{beta}^t}}"] if corrected else []


def _schedule(rule: UpdateRule) -> list[str]:
    lines = []
    schedule = r"\cdot\operatorname{min}(1,\,\frac{t}{t_w})" if rule.warmup_steps else ""
    if rule.cosine:
        schedule += r"\cdot\frac{1}{2}(1+\operatorname{cos}\,\frac{\pi(t-1)}{T})"
    if rule.warmup_fraction:
        schedule += r"\cdot\operatorname{min}(1,\,\frac{t}{x_w T})"
    if rule.decay_shape != "none":
        shape = DECAY_SHAPE_BY_NAME[rule.decay_shape].latex
        progress = r"\frac{(t-1)/T-x_0}{1-x_0}"
        lines.append(rf"x = \operatorname{{min}}(\operatorname{{max}}({progress},\,0),\,1)")
        schedule += rf"\cdot[a+(1-a)({shape})]"
    return [*lines, rf"\eta_t = \eta{schedule}"] if schedule else []


def _around(rule: UpdateRule) -> list[str]:
    """What is said of other parameters and of the readout."""
    lines = []
    if rule.tells_matrices_apart:
        what = "Adam" if rule.others == "adam" else "the same without stages for matrices"
        lines.append(rf"\text{{what is no matrix: {what}}}")
    if rule.readout != "last":
        lines.append(rf"\text{{read}}\quad {READOUT_BY_NAME[rule.readout].latex}")
    return lines


def _raw_moments(latex: str, rule: UpdateRule) -> str:
    for moment, kept in (("m", rule.use_m), ("v", rule.use_v)):
        if not (kept and rule.bias_correction):
            latex = latex.replace(rf"\hat {moment}", f"{moment}_t")
    return latex


def _sum(rule: UpdateRule) -> str:
    if not rule.terms:
        return "0"
    parts = [f"{_coefficient(weight)} {_term(name, rule)}" for name, weight in rule.terms]
    return " ".join(parts).removeprefix("+")


def _term(name: str, rule: UpdateRule) -> str:
    term = TERM_BY_NAME[name]
    latex = _raw_moments(term.latex, rule)
    if "nesterov_beta" in term.uses and rule.nesterov_beta is not None:
        latex = latex.replace(r"\beta_1", _number(rule.nesterov_beta))
    return f"({latex})" if term.is_sum else rf"\,{latex}"


def _constants(rule: UpdateRule) -> list[tuple[Markup, str, str]]:
    of = rule.averaged_by_beta2
    rows: list[tuple[str, str, float | None]] = [
        (r"\eta", "learning rate", rule.lr),
        (r"\beta_1", "decay of the first moment", rule.beta1 if rule.reads_beta1 else None),
        (r"\beta_2", f"decay of the average of {of}", rule.beta2 if of else None),
        (r"\beta_3", "weight of the previous moment", rule.beta3 if rule.uses("beta3") else None),
        (r"\epsilon", "numerical constant", rule.eps if rule.uses("eps") or rule.normalize_first else None),
        (r"\lambda", "weight decay", rule.weight_decay or None),
        ("c", "bound of each gradient element", rule.clip_value),
        ("t_w", "steps of warmup", rule.warmup_steps or None),
        *_constants_of_stages(rule),
    ]
    return [
        (typeset(symbol, block=False), name, f"{value:.6g}")
        for symbol, name, value in rows
        if value is not None
    ]


def _constants_of_stages(rule: UpdateRule) -> list[tuple[str, str, float | None]]:
    decays, adam = rule.decay_shape != "none", rule.others == "adam"
    orthogonal = rule.shape.startswith("orthogonal")
    return [
        (r"\gamma", "weight of the gradient's difference", rule.gradient_difference or None),
        ("c_n", "longest gradient of a parameter", rule.clip_norm),
        (r"\lambda_2", "coupled weight decay", rule.l2 or None),
        (r"\beta_{\text{slow}}", "decay of the slow moment", rule.slow_beta),
        ("p", "exponent of the gradient", rule.power if rule.uses("power") else None),
        (r"\operatorname{NS}", "iterations of Newton and Schulz", rule.iterations if orthogonal else None),
        ("x_w", "fraction of warmup", rule.warmup_fraction or None),
        ("x_0", "fraction before the decay", rule.decay_start if decays else None),
        ("a", "factor at the end", rule.decay_floor if decays else None),
        ("q", "exponent of the decay", rule.decay_power if rule.decay_shape == "power" else None),
        (r"\eta_o", "factor on the rate of others", rule.others_lr if rule.tells_matrices_apart else None),
        (r"\beta_{1o}", "decay of Adam's first moment", rule.others_beta1 if adam else None),
        (r"\beta_{2o}", "decay of Adam's second moment", rule.others_beta2 if adam else None),
        (r"\epsilon_o", "numerical constant of Adam", rule.others_eps if adam else None),
        (r"\beta_{\text{ema}}", "decay of the average", rule.ema_decay if rule.readout == "ema" else None),
        ("f", "fraction averaged", rule.mean_fraction if rule.readout == "mean" else None),
    ]


def _coefficient(weight: float) -> str:
    return ("+" if weight > 0 else "-") if abs(weight) == 1 else _number(weight, sign=True)


def _number(value: float, sign: bool = False) -> str:
    mantissa, _, exponent = format(value, "+.4g" if sign else ".4g").partition("e")
    return rf"{mantissa}\times 10^{{{int(exponent)}}}" if exponent else mantissa
