"""Python source of an update rule's step: for one tensor, for lists of tensors, and for a compiler.

All three are the same operations in the same order, as few passes over memory as `torch.optim` makes: every
term goes straight to the parameters, and there is one temporary at a time.
"""

from __future__ import annotations

from evoopt.optim.rule import UpdateRule
from evoopt.optim.term import Average, Calls, Quotient, Term
from evoopt.optim.terms import TERM_BY_NAME


def corrects_m(rule: UpdateRule) -> bool:
    """Whether the code divides by ``1 - beta1**t``; the sign of a moment does not need it."""
    scaled = any(term.reads_scale_of_m for term in _terms(rule))
    return rule.bias_correction and rule.use_m and scaled


def corrects_v(rule: UpdateRule) -> bool:
    """Whether the code divides the second moment by ``1 - beta2**t``."""
    return rule.bias_correction and rule.use_v


def loop_lines(rule: UpdateRule) -> list[str]:
    """Statements for tensors named ``param``, ``grad``, ``exp_avg`` and ``exp_avg_sq``."""
    return _OneTensor(rule).step()


def foreach_lines(rule: UpdateRule) -> list[str]:
    """The same for lists of tensors, in calls of ``torch._foreach_*``."""
    return _Lists(rule).step()


def kernel_lines(rule: UpdateRule) -> tuple[list[str], list[str], dict[str, str]]:
    """Those for a compiler; what Python computes before, and the numbers it hands over, by name.

    A number is a tensor there, so that nothing is compiled anew for another one, and nothing is computed of
    numbers, which would be done for every element.
    """
    code = _Kernel(rule)
    return code.step(), code.weights, code.numbers


def nesterov_beta(rule: UpdateRule) -> str:
    """Name of the constant in the Nesterov term."""
    return "beta1" if rule.nesterov_beta is None else "nesterov_beta"


def _terms(rule: UpdateRule) -> list[Term]:
    return [TERM_BY_NAME[name] for name, _ in rule.terms]


class _OneTensor:
    """Writes the statements of a step; how one is written is what other forms change."""

    def __init__(self, rule: UpdateRule) -> None:
        self.lines: list[str] = []
        self._rule = rule
        self._has_temporary = False

    def step(self) -> list[str]:
        self._prepare()
        self._calls(before_moments=True)
        self._add("")
        self._moments()
        self._quotients("v" if self._rule.use_v else "", "v")
        self._quotients("g" if self._rule.use_v else "gv", "g")
        self._averages()
        self._calls(before_moments=False)
        return self.lines

    # What every form has of its own

    def _name(self, of: str) -> str:
        return {"g": "grad", "m": "exp_avg", "v": "exp_avg_sq"}[of]

    def _made(self, operation: str, of: str, *arguments: str) -> str:
        return f"{self._name(of)}.{operation}({', '.join(arguments)})"

    def _changed(self, operation: str, *arguments: str) -> str:
        return f"scratch.{operation}_({', '.join(arguments)})"

    def _scaled(self, what: str, weight: str, corrected: bool) -> str:
        """A number that a term is multiplied by."""
        return f"-lr * {weight}" + (" / bias_correction1" if corrected else "")

    def _number(self, name: str, value: str) -> str:
        return value

    def _weight(self, what: str, value: str) -> str:
        self._add(f"{what}_weights = {value}")
        return f"{what}_weights"

    def _prepare(self) -> None:
        if self._rule.clip_value is not None:
            self._add("grad = grad.clamp(-clip_value, clip_value)")
        self._add("if weight_decay != 0:", "    param.mul_(1 - lr * weight_decay)", "")

    def _moments(self) -> None:
        if self._rule.use_m:
            self._add("exp_avg.lerp_(grad, 1 - beta1)")
        if self._rule.use_v:
            self._add("exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)")

    def _unbiased_v(self) -> None:
        self._temporary("div", "v", "bias_correction2")

    def _add_scaled(self, values: str, scale: str) -> None:
        self._add(f"scale = {scale}", f"_add_scaled_(param, {values}, scale)")

    def _add_quotient(self, numerator: str, scale: str) -> None:
        self._add(f"scale = {scale}", f"_addcdiv_scaled_(param, {self._name(numerator)}, scratch, scale)")

    # What all have in common

    def _add(self, *lines: str) -> None:
        for line in lines:
            if line or (self.lines and self.lines[-1]):
                self.lines.append(line)

    def _temporary(self, operation: str, of: str, *arguments: str) -> None:
        if self._has_temporary:
            self._add("del scratch")  # before there is another: one at a time
        self._add(f"scratch = {self._made(operation, of, *arguments)}")
        self._has_temporary = True

    def _calls(self, before_moments: bool) -> None:
        for term in _terms(self._rule):
            if isinstance(term.form, Calls) and ("m_prev" in term.uses) == before_moments:
                self._add("")
                self._temporary(*(self._value(word) for word in term.form.first))
                for operation, *arguments in term.form.rest:
                    self._add(self._changed(operation, *map(self._value, arguments)))
                scale = self._scaled(term.name, f"{term.name}_weight", False)
                self._add_scaled("scratch", scale)

    def _value(self, word: str) -> str:
        """What a word of `Calls` stands for: a tensor, a number, or itself."""
        operation, _, of = word.rpartition("(")
        if of.removesuffix(")") == "gradient":
            return self._made(operation, "g") if operation else self._name("g")
        if word.startswith("1 - "):
            return self._number(f"rest_of_{word.removeprefix('1 - ')}", word)
        return word

    def _quotients(self, denominators: str, over: str) -> None:
        """Add the terms with one denominator; without a second moment ``sqrt(v)`` is ``|g|``."""
        quotients = [(t, t.form) for t in _terms(self._rule) if isinstance(t.form, Quotient)]
        found = [(t.name, form.numerator) for t, form in quotients if form.over in denominators]
        if not found:
            return
        self._add("")
        if over == "g":
            self._temporary("abs", "g")
        elif corrects_v(self._rule):
            self._unbiased_v()
            self._add(self._changed("sqrt"))
        else:
            self._temporary("sqrt", "v")
        self._add(self._changed("add", self._number("eps", "eps")))
        for name, numerator in found:
            corrected = numerator == "m" and corrects_m(self._rule)
            self._add_quotient(numerator, self._scaled(name, f"{name}_weight", corrected))

    def _averages(self) -> None:
        for of, what in (("m", "momentum"), ("g", "gradient")):
            factors = (
                getattr(term.form, of).format(
                    weight=f"{term.name}_weight", nesterov_beta=nesterov_beta(self._rule)
                )
                for term in _terms(self._rule)
                if isinstance(term.form, Average)
            )
            weight = " + ".join(filter(None, factors))
            if weight:
                self._add("")
                if not weight.isidentifier():
                    weight = self._weight(what, weight)
                corrected = of == "m" and corrects_m(self._rule)
                self._add_scaled(self._name(of), self._scaled(what, weight, corrected))


class _Lists(_OneTensor):
    def _name(self, of: str) -> str:
        return f"device_{super()._name(of)}s"

    def _made(self, operation: str, of: str, *arguments: str) -> str:
        return f"torch._foreach_{operation}({', '.join((self._name(of), *arguments))})"

    def _changed(self, operation: str, *arguments: str) -> str:
        return f"torch._foreach_{operation}_({', '.join(('scratch', *arguments))})"

    def _scaled(self, what: str, weight: str, corrected: bool) -> str:
        scale = super()._scaled(what, weight, False)
        return f"_divided({scale}, bias_correction1)" if corrected else scale

    def _prepare(self) -> None:
        if self._rule.clip_value is not None:
            self._add("device_grads = list(torch._foreach_clamp_min(device_grads, -clip_value))")
            self._add("torch._foreach_clamp_max_(device_grads, clip_value)", "")
        self._add("if weight_decay != 0:")
        self._add("    torch._foreach_mul_(device_params, 1 - lr * weight_decay)", "")

    def _moments(self) -> None:
        if self._rule.use_m:
            self._add("torch._foreach_lerp_(device_exp_avgs, device_grads, 1 - beta1)")
        if self._rule.use_v:
            self._add("torch._foreach_mul_(device_exp_avg_sqs, beta2)", "torch._foreach_addcmul_(")
            self._add("    device_exp_avg_sqs, device_grads, device_grads, 1 - beta2", ")")

    def _add_scaled(self, values: str, scale: str) -> None:
        self._add(f"scale = {scale}", f"_foreach_add_scaled_(device_params, {values}, scale)")

    def _add_quotient(self, numerator: str, scale: str) -> None:
        call = f"_foreach_addcdiv_scaled_(device_params, {self._name(numerator)}, scratch, scale)"
        self._add(f"scale = {scale}", call)

    def step(self) -> list[str]:
        """The statements; a copy of the gradients goes when only moments are read before a new temporary."""
        lines = super().step()
        end = 1 + max((i for i, line in enumerate(lines) if "device_grads" in line), default=-1)
        end += lines[end : end + 1] == [")"]
        free = any("scratch = " in line for line in lines[end:])
        return [*lines[:end], *(["del device_grads"] if free else []), *lines[end:]]


class _Kernel(_OneTensor):
    def __init__(self, rule: UpdateRule) -> None:
        super().__init__(rule)
        self.numbers: dict[str, str] = {}
        self.weights: list[str] = []

    def _number(self, name: str, value: str) -> str:
        self.numbers[name] = value
        return name

    def _scaled(self, what: str, weight: str, corrected: bool) -> str:
        return self._number(f"{what}_scale", super()._scaled(what, weight, corrected))

    def _weight(self, what: str, value: str) -> str:
        self.weights.append(f"{what}_weights = {value}")
        return f"{what}_weights"

    def _add_scaled(self, values: str, scale: str) -> None:
        self._add(f"param.add_({values}.mul({scale}))")

    def _add_quotient(self, numerator: str, scale: str) -> None:
        self._add(f"param.add_({self._name(numerator)}.div(scratch).mul_({scale}))")

    def _prepare(self) -> None:
        if self._rule.clip_value is not None:
            bound = self._number("clip_value", "clip_value")
            self._add(f"grad = grad.clamp(-{bound}, {bound})")
        self._add(f"param.mul_({self._number('decay', '1 - lr * weight_decay')})", "")

    def _moments(self) -> None:
        for of, used, squared in (("m", self._rule.use_m, ""), ("v", self._rule.use_v, ".square()")):
            if used:
                beta = "beta1" if of == "m" else "beta2"
                kept, rest = self._number(beta, beta), self._number(f"rest_of_{beta}", f"1 - {beta}")
                self._add(f"{self._name(of)}.mul_({kept}).add_(grad{squared}.mul({rest}))")

    def _unbiased_v(self) -> None:
        self._temporary("mul", "v", self._number("unbias2", "1 / bias_correction2"))
