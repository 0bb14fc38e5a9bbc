"""The canonical form of a rule: what cannot matter is taken out, what means the same is said one way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from evoopt.optim.terms import TERM_BY_NAME

if TYPE_CHECKING:
    from evoopt.optim.rule import Terms, UpdateRule


def canonical(rule: UpdateRule) -> UpdateRule:
    """The simplest rule that makes the same steps, but for rounding; `UpdateRule.canonical`."""
    rule = _changed(rule, **_schedule(rule), **_readout(rule))
    rule = _changed(rule, terms=_plain(rule))
    rule = _without_idle_moments(rule)
    rule = _changed(rule, **_stages(rule))
    rule = _merge_scale(rule)
    rule = _changed(rule, **_others(rule))
    return replace(rule, **_constants(rule))


def _changed(rule: UpdateRule, **changes: Any) -> UpdateRule:
    """`replace` without the checks, which are made of what comes out in the end."""
    changed, known = object.__new__(type(rule)), rule.__dataclass_fields__
    vars(changed).update({name: value for name, value in vars(rule).items() if name in known}, **changes)
    return changed


def _plain(rule: UpdateRule) -> Terms:
    """Terms by the simplest name that they have with the rule's constants."""
    terms = rule.terms
    if not rule.slow_beta:
        terms = tuple((TERM_BY_NAME[name].without_m2 or name, weight) for name, weight in terms)
    names = {0: "sign_grad", 1: "grad"}
    power = names.get(rule.power, "power_grad")  # type: ignore[call-overload]
    return _merged((power if name == "power_grad" else name, weight) for name, weight in terms)


def _without_idle_moments(rule: UpdateRule) -> UpdateRule:
    kept, use_m, use_v = rule.terms, rule.use_m, rule.use_v
    while True:
        kept = _merged(kept if use_m else ((TERM_BY_NAME[n].without_m or n, w) for n, w in kept))
        uses = {quantity for name, _ in kept for quantity in TERM_BY_NAME[name].uses}
        # A moment with decay 0 is the gradient itself; only the previous moment still differs then.
        needs_m = use_m and ("m_prev" in uses or ("m" in uses and rule.beta1 > 0))
        if use_m == needs_m:
            break
        use_m = False
    first = rule.normalize_first and bool(kept)
    # With decay 0 a second moment is the squared gradient, unless it is a mean of some.
    use_v = use_v and ("v" in uses or first) and (rule.beta2 > 0 or rule.second_moment != "full")
    return _changed(rule, terms=kept, use_m=use_m, use_v=use_v, normalize_first=first)


def _stages(rule: UpdateRule) -> dict[str, Any]:
    """Stages that a rule has something to do for.

    A cautious mask stays on a rule without moments too: where a gradient is exactly zero its mean is below 1.
    A trust ratio stays without terms: it scales the decay. So does a penalty that others follow.
    """
    kept = bool(rule.terms)
    reads_slow = rule.uses("m2")
    return {
        "clip_value": rule.clip_value if kept else None,
        "clip_norm": rule.clip_norm if kept else None,
        "gradient_difference": rule.gradient_difference if kept and rule.beta1 > 0 else 0.0,
        "l2": rule.l2 if kept or rule.others == "adam" else 0.0,
        "second_moment": rule.second_moment if rule.use_v else "full",
        "slow_beta": rule.slow_beta if reads_slow else None,
        "mask": rule.mask if kept else "none",
        "shape": rule.shape if kept else "none",
        "scale": rule.scale if kept or rule.scale == "trust" else "none",
        "cautious_decay": rule.cautious_decay and kept and rule.weight_decay > 0,
    }


def _merge_scale(rule: UpdateRule) -> UpdateRule:
    """Weights whose common factor is lost in a shape, with the largest as 1.

    Only where all that the weights move are matrices: what follows the rule without its shape has their size.
    """
    if rule.shape == "none" or rule.others == "rule":
        return rule
    largest = max(abs(weight) for _, weight in rule.terms)
    # A bias that is common to the whole direction is such a factor too.
    corrected = rule.bias_correction and (rule.use_v or any(name != "momentum" for name, _ in rule.terms))
    terms = tuple((name, weight / largest) for name, weight in rule.terms)
    return _changed(rule, terms=terms, bias_correction=corrected)


def _others(rule: UpdateRule) -> dict[str, Any]:
    same = rule.others == "adam" and _equal(rule.others_rule, _changed(rule, others="rule").others_rule)
    others = "rule" if same else rule.others
    adam = others == "adam"
    apart = rule.needs_matrices or adam or rule.others_lr != 1
    return {
        "others": others,
        "others_beta1": rule.others_beta1 if adam else type(rule).others_beta1,
        "others_beta2": rule.others_beta2 if adam else type(rule).others_beta2,
        "others_eps": rule.others_eps if adam else type(rule).others_eps,
        "shape_output": rule.shape_output and apart,
    }


def _equal(a: UpdateRule, b: UpdateRule) -> bool:
    return canonical(a) == canonical(b)


def _constants(rule: UpdateRule) -> dict[str, Any]:
    cls = type(rule)
    uses = {quantity for name, _ in rule.terms for quantity in TERM_BY_NAME[name].uses}
    nesterov = rule.nesterov_beta if "nesterov_beta" in uses else None
    # The raw previous moment is not affected by bias correction.
    corrects_m = rule.use_m and "m" in uses and rule.beta1 > 0
    corrects_v = rule.use_v and rule.beta2 > 0
    return {
        "beta1": rule.beta1 if rule.reads_beta1 else cls.beta1,
        "beta2": rule.beta2 if rule.reads_beta2 else cls.beta2,
        "beta3": rule.beta3 if "beta3" in uses else cls.beta3,
        "eps": rule.eps if "eps" in uses or rule.normalize_first else cls.eps,
        "bias_correction": rule.bias_correction and (corrects_v or corrects_m),
        "nesterov_beta": None if nesterov == rule.beta1 else nesterov,
        "power": rule.power if "power" in uses else cls.power,
        "iterations": rule.iterations if rule.shape.startswith("orthogonal") else cls.iterations,
    }


def _schedule(rule: UpdateRule) -> dict[str, Any]:
    cls = type(rule)
    shape = rule.decay_shape if rule.decay_floor < 1 else "none"
    if shape == "power" and rule.decay_power == 1:
        shape = "linear"
    decays = shape != "none"
    start, floor = (rule.decay_start, rule.decay_floor) if decays else (cls.decay_start, cls.decay_floor)
    whole = shape == "cosine" and start == 0 and floor == 0 and rule.warmup_fraction == 0
    return {
        "warmup_steps": rule.warmup_steps if rule.warmup_steps > 1 else 0,
        "cosine": rule.cosine or whole,
        "decay_shape": "none" if whole else shape,
        "decay_start": start,
        "decay_floor": floor,
        "decay_power": rule.decay_power if shape == "power" else cls.decay_power,
    }


def _readout(rule: UpdateRule) -> dict[str, Any]:
    cls = type(rule)
    last = (rule.readout == "ema" and rule.ema_decay == 0) or (
        rule.readout == "mean" and rule.mean_fraction == 0
    )
    readout = "last" if last else rule.readout
    return {
        "readout": readout,
        "ema_decay": rule.ema_decay if readout == "ema" else cls.ema_decay,
        "mean_fraction": rule.mean_fraction if readout == "mean" else cls.mean_fraction,
    }


def _merged(terms: Iterable[tuple[str, float]]) -> Terms:
    """Equal terms as one, without those of weight zero, ordered as in the registry."""
    merged: dict[str, float] = {}
    for name, weight in terms:
        merged[name] = merged.get(name, 0.0) + weight
    return tuple((n, merged[n]) for n in TERM_BY_NAME if merged.get(n, 0.0) != 0.0)
