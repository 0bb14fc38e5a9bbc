"""The step of a rule as formulas, one operation per line, in the names of an exported class."""

from __future__ import annotations

import re

from evoopt.export.stage_code import has_stages
from evoopt.export.term_code import corrects_m, corrects_v, nesterov_beta
from evoopt.optim.rule import UpdateRule
from evoopt.optim.stages import Stage
from evoopt.optim.stages.annealing import DECAY_SHAPE_BY_NAME
from evoopt.optim.term import Term
from evoopt.optim.terms import TERM_BY_NAME


def formulas(rule: UpdateRule) -> list[str]:
    """One operation of a step per line, in the order they are done; ``t`` counts steps from 1."""
    schedule = _schedule(rule)
    lr = "lr_t" if schedule else "lr"
    return [*schedule, *(_staged(rule, lr) if has_stages(rule) else _plain(rule, lr))]


def formulas_of_others(rule: UpdateRule) -> list[str]:
    """The same for parameters that are no matrices, but for the schedule."""
    rate = f"others_lr * {'lr_t' if _schedule(rule) else 'lr'}"
    if rule.others == "rule":
        return _staged(rule.others_rule, rate)
    names = {
        "beta1": "others_betas[0]",
        "beta2": "others_betas[1]",
        "eps": "others_eps",
        "adam_weight * ": "",
    }
    text = "\n".join(_staged(rule.others_rule, rate))
    for name, new in names.items():
        text = text.replace(name, new)
    return text.split("\n")


def _plain(rule: UpdateRule, lr: str) -> list[str]:
    lines = [*_clip(rule), f"w = w * (1 - {lr} * weight_decay)"]
    if rule.uses("m_prev"):
        lines.append("m_prev = m")
    lines += _moment(rule, "m") if rule.use_m else []
    lines += _moment(rule, "v") if rule.use_v else []
    lines += [*_unbiased(rule, "m"), *_unbiased(rule, "v")]
    for name, _ in rule.terms:
        lines.append(f"w = w - {lr} * {name}_weight * {_formula(TERM_BY_NAME[name], rule)}")
    return lines


def _staged(rule: UpdateRule, lr: str) -> list[str]:
    after = [stage for stage in rule.active if stage.part in ("mask", "shape", "scale")]
    cautious = [line for stage in rule.active if stage.part == "decay" for line in _lines(stage, rule)]
    before = {stage.name: _lines(stage, rule) for stage in rule.active if stage not in after}
    trust = rule.scale == "trust"
    decayed = "decay" if cautious else "weight_decay * w"
    lines = [
        *_clip(rule),
        *before.get("gradient_difference", ()),
        *before.get("clip_norm", ()),
        *before.get("l2", ()),
        *before.get(rule.second_moment, _moment(rule, "v") if rule.use_v else ()),
        *_unbiased(rule, "v"),
        *before.get("normalize_first", ()),
        *before.get("slow_beta", ()),
        *(["m_prev = m"] if rule.uses("m_prev") else ()),
        *(_moment(rule, "m") if rule.use_m else ()),
        *_unbiased(rule, "m"),
    ]
    for k, (name, _) in enumerate(rule.terms):
        lines.append(f"u = {'u + ' * (k > 0)}{name}_weight * {_formula(TERM_BY_NAME[name], rule)}")
    for stage in after:
        if stage.part == "scale":
            lines += [*cautious, *([] if trust else [f"w = w - {lr} * {decayed}"])]
        own = _lines(stage, rule)
        lines += [line.replace("weight_decay * w", decayed) for line in own] if trust else own
    if rule.scale == "none":
        lines += [*cautious, f"w = w - {lr} * {decayed}"]
    return [*lines, f"w = w - {lr} * u"]


def _lines(stage: Stage, rule: UpdateRule) -> list[str]:
    return [_read(_spaced(line), rule) for line in stage.formula.split("; ")]


def _schedule(rule: UpdateRule) -> list[str]:
    factors, lines = ["lr"], []
    if rule.warmup_steps:
        factors.append("min(t / warmup_steps, 1)")
    if rule.cosine:
        factors.append("(1 + cos(pi * (t - 1) / total_steps)) / 2")
    if rule.warmup_fraction:
        factors.append("min(t / (warmup_fraction * total_steps), 1)")
    if rule.decay_shape != "none":
        shape = _spaced(DECAY_SHAPE_BY_NAME[rule.decay_shape].formula)
        lines.append("x = min(max((t - 1) / total_steps - decay_start, 0) / (1 - decay_start), 1)")
        factors.append(f"(decay_floor + (1 - decay_floor) * ({shape}))")
    return [*lines, f"lr_t = {' * '.join(factors)}"] if len(factors) > 1 else []


def _clip(rule: UpdateRule) -> list[str]:
    return ["g = clamp(g, -clip_value, clip_value)"] if rule.clip_value is not None else []


def _moment(rule: UpdateRule, name: str) -> list[str]:
    beta, of = ("beta1", "g") if name == "m" else ("beta2", "g**2")
    return [f"{name} = {beta} * {name} + (1 - {beta}) * {of}"]


def _unbiased(rule: UpdateRule, name: str) -> list[str]:
    beta, corrected = ("beta1", corrects_m(rule)) if name == "m" else ("beta2", corrects_v(rule))
    return [f"{name}_hat = {name} / (1 - {beta}**t)"] if corrected else []


def _formula(term: Term, rule: UpdateRule) -> str:
    """The term's formula in the names of the lines before it."""
    text = _read(_spaced(term.formula), rule).replace("beta1", nesterov_beta(rule))
    if corrects_m(rule) and term.reads_scale_of_m:
        text = re.sub(r"\bm\b", "m_hat", text)
    return f"({text})" if term.is_sum else text


def _read(text: str, rule: UpdateRule) -> str:
    """The root of the second moment as the lines before have it."""
    root = f"sqrt({'v_hat' if corrects_v(rule) else 'v'})" if rule.use_v else "|g|"
    return text.replace("sqrt(v)", root)


def _spaced(formula: str) -> str:
    return re.sub(r" ?(?<!\*)([-+*/])(?!\*) ?", r" \1 ", formula)
