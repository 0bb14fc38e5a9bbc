"""Constructor arguments of an exported class: the constants its rule uses, checked and documented."""

from __future__ import annotations

from dataclasses import dataclass

from evoopt.optim.evolved import beta_names, default_betas
from evoopt.optim.rule import UpdateRule
from evoopt.optim.terms import TERM_BY_NAME

_BETAS = {
    "beta1": "decay of the moving average of the gradient",
    "beta2": "decay of the moving average of the squared gradient",
    "beta3": "share of the previous moving average inside the sign of the Lion term",
}


@dataclass(frozen=True)
class Option:
    """One constructor argument.

    Attributes:
        name: Name of the argument.
        annotation: Its type.
        default: Its default as Python source.
        documentation: What it is, for the docstring.
        checks: Pairs of a condition on its value and the message, in torch's words, where that fails.
        constants: Names of the numbers it holds, as the functional form takes them; none if only the class
            uses it.
        positional: Whether it may be given by position.
    """

    name: str
    annotation: str
    default: str
    documentation: str
    checks: tuple[tuple[str, str], ...]
    constants: tuple[str, ...]
    positional: bool

    @property
    def declaration(self) -> str:
        """The argument in a signature."""
        return f"{self.name}: {self.annotation} = {self.default}"

    @property
    def plain(self) -> str:
        """Its value in Python's own numbers, not those of numpy, say; a learning rate may remain a tensor."""
        if self.name == "betas":
            return "(float(betas[0]), float(betas[1]))"
        number = f"{self.annotation.partition(' ')[0]}({self.name})"
        return f"lr if isinstance(lr, Tensor) else {number}" if self.name == "lr" else number


def options(rule: UpdateRule) -> list[Option]:
    """Arguments for the constants of a canonical rule, in the order of the signature."""
    text = "learning rate; a tensor has one element"
    check = ("lr >= 0.0", "Invalid learning rate: {lr}")
    lr = Option("lr", "float | Tensor", repr(float(rule.lr)), text, (check,), (), True)
    args = [lr, _betas(rule)]
    if rule.uses("eps"):
        text = "term added to denominators to improve numerical stability"
        args.append(_number("eps", rule.eps, text, "eps >= 0.0", "epsilon value", positional=True))
    text = "decoupled weight decay coefficient"
    args.append(_number("weight_decay", rule.weight_decay, text, "weight_decay >= 0.0", positional=True))
    if rule.uses("beta3") and "beta3" not in beta_names(rule):
        args.append(_number("beta3", rule.beta3, _BETAS["beta3"], "0.0 <= beta3 <= 1.0"))
    if rule.nesterov_beta is not None:
        text = "share of the gradient in the Nesterov term"
        args.append(_number("nesterov_beta", rule.nesterov_beta, text, "0.0 <= nesterov_beta <= 1.0"))
    for term_name, weight in rule.terms:
        name = f"{term_name}_weight"
        text = f"weight of the term {TERM_BY_NAME[term_name].formula}"
        args.append(_number(name, weight, text, f"math.isfinite({name})", noun=name))
    if rule.clip_value is not None:
        text = "bound on the magnitude of each gradient element"
        args.append(_number("clip_value", rule.clip_value, text, "clip_value > 0.0"))
    if rule.warmup_steps:
        check = ("warmup_steps >= 1", "Invalid warmup_steps value: {warmup_steps}")
        text = "length of the linear warmup in steps"
        args.append(Option("warmup_steps", "int", repr(int(rule.warmup_steps)), text, (check,), (), False))
    return args


def _betas(rule: UpdateRule) -> Option:
    names = beta_names(rule)
    checks = tuple(
        (
            f"0.0 <= betas[{i}] {'<=' if name == 'beta3' else '<'} 1.0",
            f"Invalid beta parameter at index {i}: {{betas[{i}]}}",
        )
        for i, name in enumerate(names)
    )
    first, second = (_BETAS.get(name or "", "not used by this rule") for name in names)
    return Option(
        "betas",
        "tuple[float, float]",
        repr(tuple(float(beta) for beta in default_betas(rule))),
        first if first == second else f"{first}; {second}",
        checks,
        tuple(filter(None, names)),
        True,
    )


def _number(
    name: str, value: float, text: str, condition: str, noun: str | None = None, positional: bool = False
) -> Option:
    message = f"Invalid {noun or f'{name} value'}: {{{name}}}"
    return Option(name, "float", repr(float(value)), text, ((condition, message),), (name,), positional)
