"""`EvolvedOptimizer`: any update rule as a `torch.optim.Optimizer`.

It interprets the rule with a plain loop over parameters: readable, and the reference that the batched
population update is tested against. ``evoopt export`` writes a class of its own for one rule, without this
interpreter.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT, _get_scalar_dtype

from evoopt.optim.rule import UpdateRule
from evoopt.optim.schedule import schedule_factor
from evoopt.optim.term import TermInputs
from evoopt.optim.terms import weighted_sum


class EvolvedOptimizer(Optimizer):
    """Optimize parameters with an `UpdateRule`.

    The schedule of the rule is applied on top of ``group["lr"]``, the base learning rate. It counts the calls
    of ``step`` that find a gradient and continues from a loaded state_dict; its own ``total_steps`` stays.
    The decays of the moments are ``group["betas"]``, which schedulers may cycle.

    Args:
        params: Parameters or named parameters, or groups of them; a group may override every option.
        rule: The rule to follow.
        total_steps: Length of the training in steps; needed by a rule with a cosine schedule.
        lr: Base learning rate, ``rule.lr`` by default.
        weight_decay: Decoupled weight decay, ``rule.weight_decay`` by default.
        schedule: Whether to follow the rule's schedule; otherwise the learning rate is ``group["lr"]``.
        maximize: Maximize the objective, instead of minimizing.

    Raises:
        ValueError: A rule with a cosine schedule without ``total_steps``, or a bad value.
        RuntimeError: Sparse gradients (at the first step).
    """

    def __init__(
        self,
        params: ParamsT,
        rule: UpdateRule,
        total_steps: int | None = None,
        *,
        lr: float | Tensor | None = None,
        weight_decay: float | None = None,
        schedule: bool = True,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": rule.lr if lr is None else lr,
            "weight_decay": rule.weight_decay if weight_decay is None else weight_decay,
        }
        for name, value in defaults.items():
            if not isinstance(value, Tensor):
                defaults[name] = float(value)  # numpy's would not load with weights_only
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"Invalid {'learning rate' if name == 'lr' else f'{name} value'}: {value}")
        self.rule = rule
        options = {"total_steps": _whole(total_steps), "schedule": schedule, "maximize": maximize}
        super().__init__(params, {**defaults, "betas": default_betas(rule), **options})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group; it joins the schedule where the others stand."""
        options = {**self.defaults, **param_group}
        if self.rule.cosine and options["schedule"] and options["total_steps"] is None:
            raise ValueError(
                "this rule has a cosine schedule: pass total_steps, the length of the training in steps, "
                "or schedule=False"
            )
        param_group["total_steps"] = _whole(options["total_steps"])
        super().add_param_group(param_group)
        self.param_groups[-1]["schedule_step"] = self.param_groups[0].get("schedule_step", 0)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state as in torch.optim; a ``total_steps`` given to the class stays."""
        given = [group["total_steps"] for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, total_steps in zip(self.param_groups, given, strict=True):
            if total_steps not in (None, group["total_steps"]):
                warnings.warn(
                    f"{type(self).__name__}: total_steps={total_steps} stays, though the loaded state was "
                    f"made with {group['total_steps']}",
                    stacklevel=2,
                )
                group["total_steps"] = total_steps

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "rule": self.rule}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for group in state["param_groups"]:
            for p in group["params"]:
                p_state = state["state"].get(p)
                missing = {"step", *self._averages(state.get("rule"))}.difference(p_state or ())
                if p_state and missing:
                    raise ValueError(
                        f"{type(self).__name__} cannot load the state of another optimizer: "
                        f"it has no {', '.join(sorted(missing))}"
                    )
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                if name != "differentiable":  # torch adds it to the defaults
                    group.setdefault(name, value)
            steps = [int(self.state[p]["step"]) for p in group["params"] if self.state.get(p)]
            group.setdefault("schedule_step", max(steps, default=0))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step; returns the closure's loss if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if all(p.grad is None for group in self.param_groups for p in group["params"]):
            return loss
        for group in self.param_groups:
            gradients = [(p, p.grad) for p in group["params"] if p.grad is not None]
            if any(grad.is_sparse for _, grad in gradients):
                raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")
            lr, rule = self._next_lr(group), self._rule(group)
            for parameter, grad in gradients:
                self._update(parameter, -grad if group["maximize"] else grad, rule, lr, group["weight_decay"])
        return loss

    def _next_lr(self, group: dict[str, Any]) -> float:
        lr = float(group["lr"])
        if not group["schedule"]:
            return lr
        step, total_steps = group["schedule_step"], group["total_steps"]
        if self.rule.cosine and step == total_steps:
            warnings.warn(
                f"{type(self).__name__}: the schedule of total_steps={total_steps} is over and the learning "
                "rate 0; to train on, set 'total_steps' of every group in param_groups",
                stacklevel=2,
            )
        group["schedule_step"] += 1
        return lr * schedule_factor(step, total_steps, self.rule.warmup_steps, self.rule.cosine)

    def _averages(self, rule: UpdateRule | None = None) -> list[str]:
        rule = rule or self.rule
        return [n for n, used in (("exp_avg", rule.use_m), ("exp_avg_sq", rule.use_v)) if used]

    def _rule(self, group: dict[str, Any]) -> UpdateRule:
        betas = zip(beta_names(self.rule), group["betas"], strict=True)
        changed = {name: float(beta) for name, beta in betas if name and beta != getattr(self.rule, name)}
        return replace(self.rule, **changed) if changed else self.rule  # type: ignore[arg-type]

    def _update(self, w: Tensor, g: Tensor, rule: UpdateRule, lr: float, weight_decay: float) -> None:
        state = self.state[w]
        if not state:
            state["step"] = torch.zeros((), dtype=_get_scalar_dtype())
            for name in self._averages():
                state[name] = torch.zeros_like(w, memory_format=torch.preserve_format)
        state["step"] += 1
        m, v = state.get("exp_avg"), state.get("exp_avg_sq")
        if w.is_complex():
            w, g = torch.view_as_real(w), torch.view_as_real(g)
            m, v = (None if x is None else torch.view_as_real(x) for x in (m, v))
        stored = [x for x in (w, m, v) if x is not None]
        if w.dtype in (torch.bfloat16, torch.float16):
            # Computed in float32, for the sum of all terms to be rounded once.
            w, g = w.float(), g.float()
            m, v = (None if x is None else x.float() for x in (m, v))
        apply_rule_(w, g, rule, step=int(state["step"]), m=m, v=v, lr=lr, weight_decay=weight_decay)
        for x, value in zip(stored, [x for x in (w, m, v) if x is not None], strict=True):
            if x is not value:
                x.copy_(value)


def _whole(total_steps: int | None) -> int | None:
    if total_steps is None:
        return None
    if not total_steps >= 1 or total_steps % 1 != 0:
        raise ValueError(f"Invalid total_steps value: {total_steps}")
    return int(total_steps)


def beta_names(rule: UpdateRule) -> tuple[str | None, str | None]:
    """Which constants of a rule its optimizers take as ``betas``, so that schedulers can cycle them.

    The decays of the first and of the second moment, None for a moment that the rule does not keep; for a
    rule like Lion, without a second moment, the pair of its publication.
    """
    rule = rule.canonical()
    if rule.uses("m_prev") and not rule.use_v:
        return "beta3", "beta1"
    return "beta1" if rule.use_m else None, "beta2" if rule.use_v else None


def default_betas(rule: UpdateRule) -> tuple[float, float]:
    """The values of ``betas`` that a rule says; Adam's where it says none."""
    first, second = beta_names(rule)
    return getattr(rule, first or "", UpdateRule.beta1), getattr(rule, second or "", UpdateRule.beta2)


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
) -> None:
    """Move ``w`` by one step of ``rule`` in place, updating ``m`` and ``v`` in place.

    The order of operations is that of the published search (Marfinetz 2025, published notebook).

    Args:
        w: Parameter, any shape.
        g: Its gradient, same shape; not changed.
        rule: The rule.
        step: 1-based step of this parameter.
        m: First moment, or None if the rule keeps none.
        v: Second moment, or None if the rule keeps none.
        lr: Learning rate of this step; the schedule of the rule is not applied to it.
        weight_decay: Decoupled weight decay.
    """
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
