"""Python source of an update rule's terms: a formula per tensor, and foreach calls over lists of tensors."""

from __future__ import annotations

from evoopt.optim.rule import UpdateRule

_SINGLE: dict[str, str] = {
    "grad": "grad.mul({weight})",
    "momentum": "{m}.mul({weight})",
    "rms_norm": "grad.div(denom).mul_({weight})",
    "adam": "{m}.div(denom).mul_({weight})",
    "sign_grad": "grad.sign().mul_({weight})",
    "unit_grad": "grad.div(grad.abs().add_(eps)).mul_({weight})",
    "nesterov": "nesterov.mul_({weight})",
    "sign_momentum": "exp_avg.sign().mul_({weight})",
    "lion": "lion_sign.mul_({weight})",
}
"""A weighted term as an expression with a new tensor; ``{m}`` is the first moment, corrected or not."""


def corrects_m(rule: UpdateRule) -> bool:
    """Whether the code divides the first moment by ``1 - beta1**t``; a sign does not depend on it."""
    names = dict(rule.terms)
    return rule.bias_correction and rule.use_m and any(n in names for n in ("momentum", "adam", "nesterov"))


def corrects_v(rule: UpdateRule) -> bool:
    """Whether the code divides the second moment by ``1 - beta2**t``."""
    return rule.bias_correction and rule.use_v


def single_tensor_lines(rule: UpdateRule) -> list[str]:
    """Statements from gradient to ``update``, with the operations of `apply_rule_` in their order."""
    names = dict(rule.terms)
    lines = []
    if corrects_m(rule) or corrects_v(rule):
        lines += ["step = step_t if capturable else step_t.item()"]
    if rule.clip_value is not None:
        lines += ["grad = grad.clamp(-clip_value, clip_value)"]
    lines += ["", "if weight_decay != 0:", "    param.mul_(1 - lr * weight_decay)", ""]
    if "lion" in names:
        lines += ["lion_sign = exp_avg.mul(beta3).add_(grad.mul(1 - beta3)).sign_()"]
    if rule.use_m:
        lines += ["exp_avg.mul_(beta1).add_(grad, alpha=1 - beta1)"]
    if rule.use_v:
        lines += ["exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)"]
    if corrects_m(rule):
        lines += ["m_hat = exp_avg.div(1 - beta1**step)"]
    if "adam" in names or "rms_norm" in names:
        root = "exp_avg_sq.div(1 - beta2**step).sqrt_()" if corrects_v(rule) else "exp_avg_sq.sqrt()"
        lines += [f"denom = {root if rule.use_v else 'grad.abs()'}.add_(eps)"]
    m = "m_hat" if corrects_m(rule) else "exp_avg"
    if "nesterov" in names:
        lines += [f"nesterov = grad.sub({m}).mul_({nesterov_beta(rule)}).add_({m})"]
    if lines[-1]:
        lines += [""]
    for position, name in enumerate(names):
        value = _SINGLE[name].format(m=m, weight=f"{name}_weight")
        lines += [f"update.add_({value})" if position else f"update = {value}"]
    return lines


def multi_tensor_lines(rule: UpdateRule) -> list[str]:
    """Statements that do the same to lists of tensors, in fewer passes over memory.

    Every term goes straight to the parameters, and one list of temporaries serves all terms: on a CPU the
    memory of a new one costs more than the copy that is needed to use the first again.
    """
    code = _Foreach()
    if rule.clip_value is not None:
        code.add("device_grads = list(torch._foreach_clamp_min(device_grads, -clip_value))")
        code.add("torch._foreach_clamp_max_(device_grads, clip_value)", "")
    code.add("if weight_decay != 0:", "    torch._foreach_mul_(device_params, 1 - lr * weight_decay)", "")
    if "lion" in dict(rule.terms):
        code.scratch("lerp", "device_exp_avgs", "device_grads, 1 - beta3")
        code.add("torch._foreach_sign_(scratch)")
        code.add_term("scratch", "lion_weight")
        code.add("")
    if rule.use_m:
        code.add("torch._foreach_lerp_(device_exp_avgs, device_grads, 1 - beta1)")
    if rule.use_v:
        code.add("torch._foreach_mul_(device_exp_avg_sqs, beta2)", "torch._foreach_addcmul_(")
        code.add("    device_exp_avg_sqs, device_grads, device_grads, 1 - beta2", ")")
    _add_quotients(rule, code)
    _add_averages(rule, code)
    _add_signs(rule, code)
    return code.lines


def nesterov_beta(rule: UpdateRule) -> str:
    """Name of the constant in the Nesterov term."""
    return "beta1" if rule.nesterov_beta is None else "nesterov_beta"


class _Foreach:
    """Lines of foreach code, and whether their list of temporaries, ``scratch``, exists yet."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._has_scratch = False

    def add(self, *lines: str) -> None:
        for line in lines:
            if line or (self.lines and self.lines[-1]):
                self.lines.append(line)

    def scratch(self, operation: str, source: str, arguments: str = "") -> None:
        """Put ``operation(source, arguments)`` into the list of temporaries."""
        more = f", {arguments}" if arguments else ""
        if self._has_scratch:
            self.add(
                f"torch._foreach_copy_(scratch, {source})", f"torch._foreach_{operation}_(scratch{more})"
            )
        else:
            self.add(f"scratch = torch._foreach_{operation}({source}{more})")
        self._has_scratch = True

    def add_term(self, values: str, weight: str) -> None:
        self.add(f"_add_scaled_(device_params, {values}, -lr * {weight})")

    def add_quotient(self, numerators: str, weight: str) -> None:
        self.add(f"_addcdiv_scaled_(device_params, {numerators}, scratch, -lr * {weight})")


def _add_quotients(rule: UpdateRule, code: _Foreach) -> None:
    names = dict(rule.terms)
    over_root: list[str] = [name for name in ("rms_norm", "adam") if name in names]
    over_size = ["unit_grad"] if "unit_grad" in names else []
    if not rule.use_v:
        # Then sqrt(v) is |g|, and these terms share the denominator of unit_grad.
        over_root, over_size = [], over_size + over_root
    if over_root:
        code.add("")
        if corrects_v(rule):
            code.add("bias_correction2 = _bias_corrections(beta2, device_steps, capturable)")
            code.scratch("div", "device_exp_avg_sqs", "bias_correction2")
            code.add("torch._foreach_sqrt_(scratch)")
        else:
            code.scratch("sqrt", "device_exp_avg_sqs")
        code.add("torch._foreach_add_(scratch, eps)")
    for name in over_root:
        _add_quotient(name, rule, code)
    if over_size:
        code.add("")
        code.scratch("abs", "device_grads")
        code.add("torch._foreach_add_(scratch, eps)")
    for name in over_size:
        _add_quotient(name, rule, code)


def _add_quotient(name: str, rule: UpdateRule, code: _Foreach) -> None:
    if name == "adam" and corrects_m(rule):
        # In the denominator, where it needs no other temporary; adam comes last for this.
        code.add("bias_correction1 = _bias_corrections(beta1, device_steps, capturable)")
        code.add("torch._foreach_mul_(scratch, bias_correction1)")
    code.add_quotient("device_exp_avgs" if name == "adam" else "device_grads", f"{name}_weight")


def _add_averages(rule: UpdateRule, code: _Foreach) -> None:
    names, beta = dict(rule.terms), nesterov_beta(rule)
    of_m = ["momentum_weight"] * ("momentum" in names)
    of_g = ["grad_weight"] * ("grad" in names)
    if "nesterov" in names:
        of_m.append(f"nesterov_weight * (1 - {beta})")
        of_g.append(f"nesterov_weight * {beta}")
    if of_m:
        code.add("")
        source = "device_exp_avgs"
        if corrects_m(rule):
            if "adam" not in names:
                code.add("bias_correction1 = _bias_corrections(beta1, device_steps, capturable)")
            code.scratch("div", source, "bias_correction1")
            source = "scratch"
        code.add(f"momentum_scale = {' + '.join(of_m)}")
        code.add_term(source, "momentum_scale")
    if of_g:
        code.add("", f"grad_scale = {' + '.join(of_g)}")
        code.add_term("device_grads", "grad_scale")


def _add_signs(rule: UpdateRule, code: _Foreach) -> None:
    for name, source in (("sign_grad", "device_grads"), ("sign_momentum", "device_exp_avgs")):
        if name in dict(rule.terms):
            code.add("")
            code.scratch("sign", source)
            code.add_term("scratch", f"{name}_weight")
