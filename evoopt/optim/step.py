"""One step of a rule on one parameter: the reference that every faster form is tested against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from evoopt.optim.rule import UpdateRule
from evoopt.optim.stages import Stage, StageInputs
from evoopt.optim.stages.stage import State, as_matrix
from evoopt.optim.term import TermInputs
from evoopt.optim.terms import weighted_sum

if TYPE_CHECKING:
    from torch import Tensor


def keeps(rule: UpdateRule) -> tuple[State, ...]:
    """What a rule keeps for each parameter: its moments, and what its stages need."""
    moments = (("exp_avg", rule.use_m), ("exp_avg_sq", rule.use_v and rule.second_moment == "full"))
    own = tuple(State(name) for name, kept in moments if kept)
    return (*own, *(state for stage in rule.active for state in stage.state))


def apply_rule_(
    w: Tensor,
    g: Tensor,
    rule: UpdateRule,
    *,
    step: int,
    m: Tensor | None,
    v: Tensor | None,
    lr: float,
    weight_decay: float,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Move ``w`` by one step of ``rule`` in place, updating ``m``, ``v`` and ``state`` in place.

    The order of operations is that of the published search (Marfinetz 2025, published notebook), with the
    stages where they belong. Neither schedule nor readout are applied.

    Args:
        w: Parameter, any shape; two or more dimensions for a rule that needs matrices.
        g: Its gradient, same shape; not changed.
        rule: The rule; `UpdateRule.others_rule` for what is no matrix.
        step: 1-based step of this parameter.
        m: First moment, or None if the rule keeps none.
        v: Second moment, or None if the rule keeps none or not the full one.
        lr: Learning rate of this step.
        weight_decay: Decoupled weight decay.
        state: What the stages keep, by name; see `keeps`.
    """
    stages = {(stage.part, stage.name): stage for stage in rule.active}
    constants = {**vars(rule), "weight_decay": weight_decay}

    def passed(stage: Stage | None, x: Tensor, denom: Tensor | None = None) -> Tensor:
        """What a stage makes of ``x``, as the only member of a stack."""
        if stage is None:
            return x
        own = {kept.name: (state or {})[kept.name] for kept in stage.state}
        matrix = stage.acts_on == "matrix"
        of_g, of_w, of_denom, x = (
            (as_matrix(y) if matrix else y)[None] for y in (g, w, x if denom is None else denom, x)
        )
        stacked = {name: y[None] for name, y in own.items()}
        inputs = StageInputs(of_g, of_w, of_denom, stacked, constants, step)
        return stage.function(x, inputs).reshape(w.shape)

    if rule.clip_value is not None:
        g = g.clamp(-rule.clip_value, rule.clip_value)
    for name in ("gradient_difference", "clip_norm", "l2"):
        g = passed(stages.get(("gradient", name)), g)
    if v is not None:
        v.mul_(rule.beta2).addcmul_(g, g, value=1 - rule.beta2)
    kept = rule.use_v and rule.second_moment != "full"
    v_hat = passed(stages["moments", rule.second_moment], g) if kept else g * g if v is None else v
    if rule.bias_correction and rule.use_v:
        v_hat = v_hat / (1 - rule.beta2**step)
    denom = v_hat.sqrt() + rule.eps
    g = passed(stages.get(("moments", "normalize_first")), g, denom)
    m2 = passed(stages.get(("moments", "slow_beta")), g)
    m_prev = g
    if m is not None:
        m_prev = m.clone() if rule.uses("m_prev") else m
        m.mul_(rule.beta1).add_(g, alpha=1 - rule.beta1)
    m_hat = g if m is None else m / (1 - rule.beta1**step) if rule.bias_correction else m
    inputs = TermInputs(
        g=g,
        m=m_hat,
        denom=denom,
        m_prev=m_prev,
        eps=rule.eps,
        nesterov_beta=rule.beta1 if rule.nesterov_beta is None else rule.nesterov_beta,
        beta3=rule.beta3,
        m2=m2,
        power=rule.power,
    )
    u = weighted_sum(rule.terms, inputs)
    if u is None:
        u = w.new_zeros(()).expand_as(w) if stages else None
    if u is not None:
        u = passed(stages.get(("mask", rule.mask)), u)
        u = passed(stages.get(("shape", rule.shape)), u)
    cautious = stages.get(("decay", "cautious_decay"))
    decayed = w if cautious is None or u is None else passed(cautious, u)
    if rule.scale == "trust" and u is not None:
        u = u + weight_decay * decayed
    elif weight_decay and cautious is None:
        w.mul_(1 - lr * weight_decay)
    elif weight_decay:
        w.sub_(decayed, alpha=lr * weight_decay)
    if u is not None:
        # One subtraction, not one per term: the paper's equation scales the sum by lr.
        w.sub_(passed(stages.get(("scale", rule.scale)), u), alpha=lr)
