"""`EvolvedOptimizer`: any update rule as a `torch.optim.Optimizer`.

It interprets the rule with a plain loop over parameters: readable, and the reference that the batched
population update is tested against. ``evoopt export`` writes a class of its own for one rule, without this
interpreter.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT, _get_scalar_dtype

from evoopt.optim.averaging import AveragingOptimizer
from evoopt.optim.betas import beta_names, default_betas
from evoopt.optim.rule import UpdateRule
from evoopt.optim.stages.readout import READOUT_BY_NAME, Readout
from evoopt.optim.stages.stage import WIDE, State
from evoopt.optim.step import apply_rule_ as apply_rule_
from evoopt.optim.step import keeps


class EvolvedOptimizer(AveragingOptimizer):
    """Optimize parameters with an `UpdateRule`.

    The schedule of the rule is applied on top of ``group["lr"]``, the base learning rate. It counts the calls
    of ``step`` that find a gradient and continues from a loaded state_dict; its own ``total_steps`` stays.
    The decays of the moments are ``group["betas"]``, which schedulers may cycle.

    A rule with stages for matrices applies them to parameters of two or more dimensions; a group may say
    ``matrix=False`` (embeddings and the output layer, as `matrix_groups` does) or ``matrix=True``.

    A rule with a readout averages weights on the way; the model itself always holds the last ones, and
    ``model.eval()`` does not change that. Score and save averages inside ``with optimizer.averaged():``, or
    copy them into another model with `copy_averaged_to`. Running statistics, as those of BatchNorm, belong to
    the last weights and are not averaged: ``averaged(model, batches)`` computes them anew, in a copy
    ``torch.optim.swa_utils.update_bn``.

    Args:
        params: Parameters or named parameters, or groups of them; a group may override every option.
        rule: The rule to follow.
        total_steps: Length of the training in steps; for a schedule or readout that depends on it.
        lr: Base learning rate, ``rule.lr`` by default.
        weight_decay: Decoupled weight decay, ``rule.weight_decay`` by default.
        schedule: Whether to follow the rule's schedule; otherwise the learning rate is ``group["lr"]``.
        maximize: Maximize the objective, instead of minimizing.

    Raises:
        ValueError: A rule that needs ``total_steps`` without them, complex matrices, or a bad value.
        RuntimeError: Sparse gradients (at the first step), or a step inside ``averaged()``.
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
        if rule.tells_matrices_apart:
            options["matrix"] = None
        super().__init__(params, {**defaults, "betas": default_betas(rule), **options})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group; it joins the schedule where the others stand."""
        options = {**self.defaults, **param_group}
        scheduled = self.rule.needs_total_steps and options["schedule"]
        if scheduled and options["total_steps"] is None:
            kind = "cosine schedule" if self.rule.cosine else "schedule in fractions of the training"
            raise ValueError(
                f"this rule has a {kind}: pass total_steps, the length of the training in steps, "
                "or schedule=False"
            )
        if self._readout and self._readout.needs_total_steps and options["total_steps"] is None:
            raise ValueError(
                "this rule ends with a mean of the last weights: pass total_steps, the length of the training"
            )
        param_group["total_steps"] = _whole(options["total_steps"])
        _uncompiled(Optimizer.add_param_group)(self, param_group)
        group = self.param_groups[-1]
        try:
            for p in group["params"]:
                self._check_matrix(p, group)
        except ValueError:
            self.param_groups.pop()
            raise
        self.param_groups[-1]["schedule_step"] = self.param_groups[0].get("schedule_step", 0)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, as torch's optimizers do."""
        _uncompiled(Optimizer.zero_grad)(self, set_to_none)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state as in torch.optim; a ``total_steps`` given to the class stays."""
        given = [group["total_steps"] for group in self.param_groups]
        super().load_state_dict(state_dict)
        # torch has rounded what is kept in float32 to the types of the parameters.
        saved = [k for group in state_dict["param_groups"] for k in group["params"]]
        own = [(p, group) for group in self.param_groups for p in group["params"]]
        for k, (p, group) in zip(saved, own, strict=True):
            values = state_dict["state"].get(k, {})
            for name in self._wide(p, group).intersection(values):
                wide = torch.promote_types(p.dtype, torch.float32)
                self.state[p][name] = values[name].to(p.device, wide)
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
        # Whether they are matrices, saved groups may leave to this optimizer's.
        for group, own in zip(state["param_groups"], vars(self).get("param_groups", ()), strict=False):
            if "matrix" in own:
                group.setdefault("matrix", own["matrix"])
        for group in state["param_groups"]:
            for p in group["params"]:
                p_state = state["state"].get(p)
                missing = self._keeps(p, group, state.get("rule")).difference(p_state or ())
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
        self._refuse_averages()
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
                self._update(parameter, -grad if group["maximize"] else grad, rule, lr, group)
        return loss

    def _next_lr(self, group: dict[str, Any]) -> float:
        lr = float(group["lr"])
        if not group["schedule"]:
            return lr
        step, total_steps = group["schedule_step"], group["total_steps"]
        if step == total_steps and self.rule.factor(step, total_steps) == 0:
            warnings.warn(
                f"{type(self).__name__}: the schedule of total_steps={total_steps} is over and the learning "
                "rate 0; to train on, set 'total_steps' of every group in param_groups",
                stacklevel=2,
            )
        group["schedule_step"] += 1
        return lr * self.rule.factor(step, total_steps)

    @property
    def _readout(self) -> Readout | None:
        return READOUT_BY_NAME.get(self.rule.readout)

    def _keeps(self, p: Tensor, group: dict[str, Any], rule: UpdateRule | None) -> set[str]:
        rule = rule or self.rule
        average = ["average"] if rule.readout != "last" else []
        return {"step", *(state.name for state in self._states(p, group, rule)), *average}

    def _wide(self, p: Tensor, group: dict[str, Any]) -> set[str]:
        """What is kept in float32 at least."""
        return {"average", *(s.name for s in self._states(p, group, self.rule) if s.shape in WIDE)}

    @staticmethod
    def _states(p: Tensor, group: dict[str, Any], rule: UpdateRule) -> tuple[State, ...]:
        return keeps(rule if is_matrix(p, group) else rule.others_rule)

    def _check_matrix(self, p: Tensor, group: dict[str, Any]) -> None:
        if is_matrix(p, group) and self.rule.needs_matrices:
            if p.is_complex():
                raise ValueError("this rule has stages for matrices, which are not defined for complex ones")
            if p.dim() < 2:
                raise ValueError(f"a parameter of shape {tuple(p.shape)} is no matrix: leave matrix=True out")

    def _rule(self, group: dict[str, Any]) -> UpdateRule:
        betas = zip(beta_names(self.rule), group["betas"], strict=True)
        changed = {name: float(beta) for name, beta in betas if name and beta != getattr(self.rule, name)}
        return replace(self.rule, **changed) if changed else self.rule  # type: ignore[arg-type]

    def _update(self, w: Tensor, g: Tensor, rule: UpdateRule, lr: float, group: dict[str, Any]) -> None:
        if not is_matrix(w, group):
            rule, lr = rule.others_rule, lr * rule.others_lr
        state = self.state[w]
        if not state:
            state["step"] = torch.zeros((), dtype=_get_scalar_dtype())
            state.update({kept.name: kept.zeros(w) for kept in keeps(rule)})
        state["step"] += 1
        step = int(state["step"])
        kept = {"w": w, **{name: state[name] for name in (kept.name for kept in keeps(rule))}}
        if w.is_complex():
            g, kept = torch.view_as_real(g), {name: torch.view_as_real(x) for name, x in kept.items()}
        computed = kept
        if w.dtype in (torch.bfloat16, torch.float16):
            # Computed in float32, for the sum of all terms to be rounded once.
            g, computed = g.float(), {name: x.float() for name, x in kept.items()}
        apply_rule_(
            computed["w"],
            g,
            rule,
            step=step,
            m=computed.get("exp_avg"),
            v=computed.get("exp_avg_sq"),
            lr=lr,
            weight_decay=group["weight_decay"],
            state=computed,
        )
        for name, x in kept.items():
            if x is not computed[name]:
                x.copy_(computed[name])
        if self._readout:
            self._average(w, state, self._readout.share(vars(rule), step, group["total_steps"] or 0))


def is_matrix(parameter: Tensor, group: dict[str, Any]) -> bool:
    """Whether a parameter counts as a matrix: what its group says, else by its dimensions."""
    told = group.get("matrix")
    return parameter.dim() >= 2 if told is None else bool(told)


def _uncompiled(method: Callable[..., None]) -> Callable[..., None]:
    """A method that torch keeps its compiler out of, for which it imports that: two seconds in each process.

    Where nobody has imported it yet, nothing is being compiled.
    """
    return method if "torch._dynamo" in sys.modules else getattr(method, "__wrapped__", method)


def _whole(total_steps: int | None) -> int | None:
    if total_steps is None:
        return None
    if not total_steps >= 1 or total_steps % 1 != 0:
        raise ValueError(f"Invalid total_steps value: {total_steps}")
    return int(total_steps)
