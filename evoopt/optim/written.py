"""A rule in plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evoopt.optim.stages.annealing import DECAY_SHAPE_BY_NAME
from evoopt.optim.stages.readout import READOUT_BY_NAME
from evoopt.optim.stages.stage import Stage
from evoopt.optim.terms import TERM_BY_NAME

if TYPE_CHECKING:
    from evoopt.optim.rule import UpdateRule


def written(rule: UpdateRule, digits: int = 4) -> str:
    """The update in plain text, `UpdateRule.formula`."""
    direction = _sum(rule, digits)
    before = [stage.formula for stage in rule.active if stage.part in ("gradient", "moments")]
    after = [_after(stage, rule) for stage in rule.active if stage.part not in ("gradient", "moments")]
    update = [f"u = {direction}", *after, "w -= lr * u"] if after else [f"w -= lr * ({direction})"]
    return "; ".join([*before, *update, *_around(rule, digits)])


def _after(stage: Stage, rule: UpdateRule) -> str:
    if stage.part == "decay" and rule.scale != "trust":
        return f"{stage.formula}; w -= lr * decay"
    return stage.formula.replace("weight_decay*w", "decay") if rule.cautious_decay else stage.formula


def _sum(rule: UpdateRule, digits: int) -> str:
    parts = []
    for name, weight in rule.terms:
        entry = TERM_BY_NAME[name]
        own = "beta1" if rule.nesterov_beta is None else "nesterov_beta"
        formula = entry.formula.replace("beta1", own)
        formula = f"({formula})" if entry.is_sum else formula
        parts.append(f"{weight:+.{digits}g}*{formula}")
    body = " ".join(parts).removeprefix("+") or "0"
    return body.replace(" -", " - ").replace(" +", " + ")


def _around(rule: UpdateRule, digits: int) -> list[str]:
    """What is said of other parameters, of the schedule in fractions and of the readout."""
    lines = []
    rate = "" if rule.others_lr == 1 else f" at {rule.others_lr:.{digits}g}*lr"
    if rule.others == "adam" or rate:
        lines.append(f"no matrix: {'adam' if rule.others == 'adam' else 'the same'}{rate}")
    if rule.warmup_fraction:
        lines.append(f"lr rises over {rule.warmup_fraction:.{digits}g} of the training")
    if rule.decay_shape != "none":
        shape = DECAY_SHAPE_BY_NAME[rule.decay_shape].formula
        span = f"from {rule.decay_start:.{digits}g} of the training to {rule.decay_floor:.{digits}g}*lr"
        lines.append(f"lr decays as {shape} {span}")
    if rule.readout != "last":
        lines.append(READOUT_BY_NAME[rule.readout].formula)
    return lines
