"""Python source of an update rule's terms: a formula per tensor, and foreach calls over lists of tensors."""

from __future__ import annotations

import re

from evoopt.optim.rule import UpdateRule
from evoopt.optim.term import Average, Calls, Quotient, Term
from evoopt.optim.terms import TERM_BY_NAME


def corrects_m(rule: UpdateRule) -> bool:
    """Whether the code divides the first moment by ``1 - beta1**t``."""
    return rule.bias_correction and rule.use_m and any(term.reads_scale_of_m for term in _terms(rule))


def corrects_v(rule: UpdateRule) -> bool:
    """Whether the code divides the second moment by ``1 - beta2**t``."""
    return rule.bias_correction and rule.use_v


def single_tensor_lines(rule: UpdateRule) -> list[str]:
    """Statements from gradient to ``update``, with the operations of `apply_rule_` in their order."""
    lines, before, after, values = (list[str]() for _ in range(4))
    if corrects_m(rule) or corrects_v(rule):
        lines += ["step = step_t if capturable else step_t.item()"]
    if rule.clip_value is not None:
        lines += ["grad = grad.clamp(-clip_value, clip_value)"]
    lines += ["", "if weight_decay != 0:", "    param.mul_(1 - lr * weight_decay)", ""]
    names = {"m": "m_hat" if corrects_m(rule) else "exp_avg", "nesterov_beta": nesterov_beta(rule)}
    once = corrects_m(rule) and sum(term.reads_scale_of_m for term in _terms(rule)) == 1
    for term in _terms(rule):
        code = term.loop.format(**names)
        if once:  # then the quotient may take the place of what is divided
            code = code.replace("m_hat.div(", "m_hat.div_(")
        target, assigned, expression = code.rpartition(" = ")
        if assigned:
            (before if "m_prev" in term.uses else after).append(code)
        # A tensor of its own is scaled where it is.
        scaled = "mul_" if assigned or "(" in expression else "mul"
        values.append(f"{target or expression}.{scaled}({term.name}_weight)")
    lines += before
    if rule.use_m:
        lines += ["exp_avg.mul_(beta1).add_(grad, alpha=1 - beta1)"]
    if rule.use_v:
        lines += ["exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)"]
    if corrects_m(rule):
        lines += ["m_hat = exp_avg.div(1 - beta1**step)"]
    if rule.uses("v"):
        root = "exp_avg_sq.div(1 - beta2**step).sqrt_()" if corrects_v(rule) else "exp_avg_sq.sqrt()"
        lines += [f"denom = {root if rule.use_v else 'grad.abs()'}.add_(eps)"]
    lines += after
    if lines[-1]:
        lines += [""]
    first, *others = values
    return [*lines, f"update = {first}", *(f"update.add_({value})" for value in others)]


def fused_lines(rule: UpdateRule) -> list[str]:
    """The same statements for a compiler: every number is a tensor, what depends on them is computed."""
    code = "\n".join(line for line in single_tensor_lines(rule) if not line.startswith("step = "))
    code = code.replace("if weight_decay != 0:\n    param.mul_(1 - lr * weight_decay)", "param.mul_(decay)")
    code = re.sub(r"add_\(grad, alpha=(1 - beta1)\)", r"add_(grad.mul(\1))", code)
    code = re.sub(r"addcmul_\(grad, grad, value=(1 - beta2)\)", r"add_(grad.square().mul_(\1))", code)
    code = re.sub(r"div\(1 - beta([12])\*\*step\)", r"mul(unbias\1)", code)
    # A difference of float32 numbers would not be exact.
    return re.sub(r"1 - (beta\d)", r"rest_of_\1", code).strip().splitlines()


def fused_scalars(rule: UpdateRule, constants: list[str]) -> dict[str, str]:
    """Names of the numbers that `fused_lines` reads, in their order, and how Python computes them."""
    scalars = {"lr": "float(lr)", "decay": "1 - float(lr) * weight_decay", "sign": "-1 if maximize else 1"}
    scalars |= {f"unbias{k}": f"1 / (1 - beta{k}**step)" for k in (1, 2)}
    scalars |= {f"rest_of_beta{k}": f"1 - beta{k}" for k in (1, 2, 3)}
    scalars |= {name: name for name in constants}
    code = "\n".join(["lr sign", *fused_lines(rule)])
    return {name: value for name, value in scalars.items() if re.search(rf"\b{name}\b", code)}


def multi_tensor_lines(rule: UpdateRule) -> list[str]:
    """Statements that do the same to lists of tensors, in fewer passes over memory.

    Every term goes straight to the parameters, and there is one list of temporaries at a time.
    """
    code = _Foreach(rule)
    if rule.clip_value is not None:
        code.add("device_grads = list(torch._foreach_clamp_min(device_grads, -clip_value))")
        code.add("torch._foreach_clamp_max_(device_grads, clip_value)", "")
    code.add("if weight_decay != 0:", "    torch._foreach_mul_(device_params, 1 - lr * weight_decay)", "")
    code.add_calls(before_moments=True)
    code.add("")
    if rule.use_m:
        code.add("torch._foreach_lerp_(device_exp_avgs, device_grads, 1 - beta1)")
    if rule.use_v:
        code.add("torch._foreach_mul_(device_exp_avg_sqs, beta2)", "torch._foreach_addcmul_(")
        code.add("    device_exp_avg_sqs, device_grads, device_grads, 1 - beta2", ")")
    code.add_quotients()
    code.add_averages()
    code.add_calls(before_moments=False)
    return _with_gradients_freed(code.lines)


def _with_gradients_freed(lines: list[str]) -> list[str]:
    """The same, without a copy of the gradients where only moments are read before the next temporaries."""
    end = 1 + max((i for i, line in enumerate(lines) if "device_grads" in line), default=-1)
    end += lines[end : end + 1] == [")"]
    free = any("scratch = " in line for line in lines[end:])
    return [*lines[:end], *(["del device_grads"] if free else []), *lines[end:]]


def nesterov_beta(rule: UpdateRule) -> str:
    """Name of the constant in the Nesterov term."""
    return "beta1" if rule.nesterov_beta is None else "nesterov_beta"


def _terms(rule: UpdateRule) -> list[Term]:
    return [TERM_BY_NAME[name] for name, _ in rule.terms]


class _Foreach:
    """Lines of foreach code for the terms of a rule."""

    def __init__(self, rule: UpdateRule) -> None:
        self.lines: list[str] = []
        self._rule = rule
        self._has_scratch = self._has_correction = False

    def add(self, *lines: str) -> None:
        for line in lines:
            if line or (self.lines and self.lines[-1]):
                self.lines.append(line)

    def add_calls(self, before_moments: bool) -> None:
        for term in _terms(self._rule):
            if isinstance(term.foreach, Calls) and ("m_prev" in term.uses) == before_moments:
                self.add("")
                operation, _, arguments = term.foreach.first.removesuffix(")").partition("(")
                self._scratch(operation, *arguments.split(", ", 1))
                self.add(*(f"torch._foreach_{call}" for call in term.foreach.rest))
                self._add_scaled("scratch", f"{term.name}_weight")

    def add_quotients(self) -> None:
        over_root, over_size = self._quotients("v"), self._quotients("g")
        if not self._rule.use_v:
            # Then sqrt(v) is |g|, and all of them share one denominator.
            over_root, over_size = [], over_size + over_root
        if over_root:
            self.add("")
            if corrects_v(self._rule):
                self.add("bias_correction2 = _bias_corrections(beta2, device_steps, capturable)")
                self._scratch("div", "device_exp_avg_sqs", "bias_correction2")
                self.add("torch._foreach_sqrt_(scratch)")
            else:
                self._scratch("sqrt", "device_exp_avg_sqs")
            self._divide(over_root)
        if over_size:
            self.add("")
            self._scratch("abs", "device_grads")
            self._divide(over_size)

    def add_averages(self) -> None:
        of_m, of_g = self._factors("m"), self._factors("g")
        if of_m:
            self.add("")
            source = "device_exp_avgs"
            if corrects_m(self._rule):
                self._correct_m()
                self._scratch("div", source, "bias_correction1")
                source = "scratch"
            self.add(f"momentum_scale = {of_m}")
            self._add_scaled(source, "momentum_scale")
        if of_g:
            self.add("", f"grad_scale = {of_g}")
            self._add_scaled("device_grads", "grad_scale")

    def _scratch(self, operation: str, source: str, *arguments: str) -> None:
        """Put ``operation(source, *arguments)`` into the list of temporaries."""
        if self._has_scratch:
            self.add("del scratch")  # before there is another: one at a time
        self.add(f"scratch = torch._foreach_{operation}({', '.join((source, *arguments))})")
        self._has_scratch = True

    def _add_scaled(self, values: str, weight: str) -> None:
        self.add(f"_add_scaled_(device_params, {values}, -lr * {weight})")

    def _quotients(self, over: str) -> list[Term]:
        return [t for t in _terms(self._rule) if isinstance(t.foreach, Quotient) and t.foreach.over == over]

    def _divide(self, terms: list[Term]) -> None:
        """Add quotients by what ``scratch`` becomes with eps."""
        self.add("torch._foreach_add_(scratch, eps)")
        # The first moment comes last: its correction goes into the denominator and needs no temporary there.
        for numerator, numerators in (("g", "device_grads"), ("m", "device_exp_avgs")):
            group = [t for t in terms if isinstance(t.foreach, Quotient) and t.foreach.numerator == numerator]
            if group and numerator == "m" and corrects_m(self._rule):
                self._correct_m()
                self.add("torch._foreach_mul_(scratch, bias_correction1)")
            for term in group:
                self.add(f"_addcdiv_scaled_(device_params, {numerators}, scratch, -lr * {term.name}_weight)")

    def _correct_m(self) -> None:
        if not self._has_correction:
            self.add("bias_correction1 = _bias_corrections(beta1, device_steps, capturable)")
        self._has_correction = True

    def _factors(self, of: str) -> str:
        factors = (
            getattr(term.foreach, of).format(
                weight=f"{term.name}_weight", nesterov_beta=nesterov_beta(self._rule)
            )
            for term in _terms(self._rule)
            if isinstance(term.foreach, Average)
        )
        return " + ".join(filter(None, factors))
