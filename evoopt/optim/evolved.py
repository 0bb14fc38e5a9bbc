"""`EvolvedOptimizer`: any update rule as a `torch.optim.Optimizer`.

It interprets the rule with a plain loop over parameters: readable, and the reference that the batched
population update is tested against. ``evoopt export`` writes a class of its own for one rule, without this
interpreter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from evoopt.optim.rule import UpdateRule
from evoopt.optim.schedule import schedule_factor
from evoopt.optim.term import TermInputs
from evoopt.optim.terms import weighted_sum


class EvolvedOptimizer(Optimizer):
    """Optimize parameters with an `UpdateRule`.

    The schedule of the rule is applied on top of ``group["lr"]``, the base learning rate.

    Args:
        params: Parameters, or groups of them; a group may override ``lr`` and ``weight_decay``.
        rule: The rule to follow.
        total_steps: Length of the training in steps; needed by a rule with a cosine schedule.
        lr: Base learning rate, ``rule.lr`` by default.
        weight_decay: Decoupled weight decay, ``rule.weight_decay`` by default.

    Raises:
        ValueError: A rule with a cosine schedule without ``total_steps``, or a negative value.
        RuntimeError: Sparse gradients (at the first step).
    """

    def __init__(
        self,
        params: ParamsT,
        rule: UpdateRule,
        total_steps: int | None = None,
        *,
        lr: float | None = None,
        weight_decay: float | None = None,
    ) -> None:
        if rule.needs_total_steps and (total_steps is None or total_steps < 1):
            raise ValueError(
                "this rule has a cosine schedule: pass total_steps, the length of the training in steps"
            )
        defaults = {
            "lr": rule.lr if lr is None else lr,
            "weight_decay": rule.weight_decay if weight_decay is None else weight_decay,
            "schedule_step": 0,
        }
        for name, value in defaults.items():
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"Invalid {name} value: {value}")
        self.rule = rule
        self.total_steps = total_steps
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step; returns the closure's loss if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
            group["schedule_step"] += 1
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        if parameter.grad is None or parameter.grad.is_sparse:
            raise RuntimeError("EvolvedOptimizer does not support sparse gradients")
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            for name, used in (("exp_avg", self.rule.use_m), ("exp_avg_sq", self.rule.use_v)):
                if used:
                    state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        state["step"] += 1
        apply_rule_(
            parameter,
            parameter.grad,
            self.rule,
            step=int(state["step"].item()),
            schedule_step=group["schedule_step"],
            total_steps=self.total_steps,
            m=state.get("exp_avg"),
            v=state.get("exp_avg_sq"),
            lr=group["lr"],
            weight_decay=group["weight_decay"],
        )


def apply_rule_(
    w: Tensor,
    g: Tensor,
    rule: UpdateRule,
    *,
    step: int,
    total_steps: int | None,
    m: Tensor | None,
    v: Tensor | None,
    lr: float,
    weight_decay: float,
    schedule_step: int | None = None,
) -> None:
    """Move ``w`` by one step of ``rule`` in place, updating ``m`` and ``v`` in place.

    The order of operations is that of the published search (Marfinetz 2025, published notebook).

    Args:
        w: Parameter, any shape.
        g: Its gradient, same shape; not changed.
        rule: The rule.
        step: 1-based step of this parameter.
        total_steps: Length of the schedule; may be None without a cosine.
        m: First moment, or None if the rule keeps none.
        v: Second moment, or None if the rule keeps none.
        lr: Base learning rate, before the schedule.
        weight_decay: Decoupled weight decay.
        schedule_step: 0-based step of the training, which the schedule follows; ``step - 1`` by default. They
            differ for a parameter that was frozen for a while.
    """
    at = step - 1 if schedule_step is None else schedule_step
    lr = lr * schedule_factor(at, total_steps, rule.warmup_steps, rule.cosine)
    if rule.clip_value is not None:
        g = g.clamp(-rule.clip_value, rule.clip_value)
    if weight_decay:
        w.mul_(1 - lr * weight_decay)
    m_prev = g
    if m is not None:
        m_prev = m.clone() if rule.uses("m_prev") else m
        m.mul_(rule.beta1).add_(g, alpha=1 - rule.beta1)
    if v is not None:
        v.mul_(rule.beta2).addcmul_(g, g, value=1 - rule.beta2)
    m_hat, v_hat = (g if m is None else m), (g * g if v is None else v)
    if rule.bias_correction:
        m_hat = m_hat if m is None else m_hat / (1 - rule.beta1**step)
        v_hat = v_hat if v is None else v_hat / (1 - rule.beta2**step)
    inputs = TermInputs(
        g=g,
        m=m_hat,
        denom=v_hat.sqrt() + rule.eps,
        m_prev=m_prev,
        eps=rule.eps,
        nesterov_beta=rule.beta1 if rule.nesterov_beta is None else rule.nesterov_beta,
        beta3=rule.beta3,
    )
    direction = weighted_sum(rule.terms, inputs)
    if direction is not None:
        # One subtraction, not one per term: the paper's equation scales the sum by lr.
        w.sub_(direction, alpha=lr)
