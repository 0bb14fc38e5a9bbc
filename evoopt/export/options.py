"""Constructor arguments of an exported class: the constants its rule uses, checked and documented."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from evoopt.optim.betas import beta_names, default_betas
from evoopt.optim.rule import UpdateRule
from evoopt.optim.terms import TERM_BY_NAME

_BETAS = {
    "beta1": "decay of the moving average of the gradient",
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
        if self.annotation.startswith("tuple"):
            return f"(float({self.name}[0]), float({self.name}[1]))"
        number = f"{self.annotation.partition(' ')[0]}({self.name})"
        return f"lr if isinstance(lr, Tensor) else {number}" if self.name == "lr" else number


def _beta2(rule: UpdateRule) -> str:
    return f"decay of the moving average of {rule.averaged_by_beta2}"


def options(rule: UpdateRule) -> list[Option]:
    """Arguments for the constants of a canonical rule, in the order of the signature."""
    text = "learning rate; a tensor has one element"
    check = ("lr >= 0.0", "Invalid learning rate: {lr}")
    lr = Option("lr", "float | Tensor", repr(float(rule.lr)), text, (check,), (), True)
    args = [lr, _betas(rule)]
    if rule.uses("eps") or rule.normalize_first:
        text = "term added to denominators to improve numerical stability"
        args.append(_number("eps", rule.eps, text, "eps >= 0.0", "epsilon value", positional=True))
    text = "decoupled weight decay coefficient"
    args.append(_number("weight_decay", rule.weight_decay, text, "weight_decay >= 0.0", positional=True))
    if rule.uses("beta3") and "beta3" not in beta_names(rule):
        args.append(_number("beta3", rule.beta3, _BETAS["beta3"], "0.0 <= beta3 <= 1.0"))
    if rule.reads_beta2 and "beta2" not in beta_names(rule):  # where betas are those of Lion
        args.append(_number("beta2", rule.beta2, _beta2(rule), "0.0 <= beta2 < 1.0"))
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
    return [*args, *_of_stages(rule)]


def _of_stages(rule: UpdateRule) -> Iterator[Option]:
    for name, (used, text, condition) in _STAGES.items():
        if used(rule):
            yield _number(name, getattr(rule, name), text, condition)
    if rule.shape.startswith("orthogonal"):
        check = ("iterations >= 1", "Invalid iterations value: {iterations}")
        text = "iterations of Newton and Schulz"
        yield Option("iterations", "int", repr(rule.iterations), text, (check,), (), False)
    if rule.tells_matrices_apart:
        text = "factor on the learning rate of parameters that are no matrices"
        yield _number("others_lr", rule.others_lr, text, "others_lr > 0.0")
    if rule.others == "adam":
        yield _pair("others_betas", (rule.others_beta1, rule.others_beta2), "betas of Adam for those")
        text = "term added to the denominators of Adam for those"
        yield _number("others_eps", rule.others_eps, text, "others_eps >= 0.0")


_STAGES: dict[str, tuple[Callable[[UpdateRule], bool], str, str]] = {
    "gradient_difference": (
        lambda rule: rule.gradient_difference > 0,
        "how much of the change of the gradient is added to it",
        "gradient_difference >= 0.0",
    ),
    "clip_norm": (
        lambda rule: rule.clip_norm is not None,
        "longest gradient of a parameter, by its norm",
        "clip_norm > 0.0",
    ),
    "l2": (lambda rule: rule.l2 > 0, "coupled weight decay: l2 * w is added to the gradient", "l2 >= 0.0"),
    "slow_beta": (
        lambda rule: rule.slow_beta is not None,
        "decay of the slow moving average of the gradient",
        "0.0 <= slow_beta < 1.0",
    ),
    "power": (lambda rule: rule.uses("power"), "exponent of the power term", "power >= 0.0"),
    "warmup_fraction": (
        lambda rule: rule.warmup_fraction > 0,
        "fraction of the training with linear warmup",
        "0.0 <= warmup_fraction <= 1.0",
    ),
    "decay_start": (
        lambda rule: rule.decay_shape != "none",
        "fraction of the training before the learning rate decays",
        "0.0 <= decay_start < 1.0",
    ),
    "decay_floor": (
        lambda rule: rule.decay_shape != "none",
        "factor on the learning rate at the end of the training",
        "0.0 <= decay_floor <= 1.0",
    ),
    "decay_power": (
        lambda rule: rule.decay_shape == "power",
        "exponent of the decay of the learning rate",
        "decay_power > 0.0",
    ),
    "ema_decay": (
        lambda rule: rule.readout == "ema",
        "decay of the moving average of the weights",
        "0.0 <= ema_decay < 1.0",
    ),
    "mean_fraction": (
        lambda rule: rule.readout == "mean",
        "fraction of the training whose weights are averaged, its last part",
        "0.0 <= mean_fraction <= 1.0",
    ),
}
"""Constants of stages: whether a rule has one, what it is, and a condition on it."""


def _betas(rule: UpdateRule) -> Option:
    names = beta_names(rule)
    checks = tuple(
        (
            f"0.0 <= betas[{i}] {'<=' if name == 'beta3' else '<'} 1.0",
            f"Invalid beta parameter at index {i}: {{betas[{i}]}}",
        )
        for i, name in enumerate(names)
    )
    texts = {**_BETAS, "beta2": _beta2(rule)}
    first, second = (texts.get(name or "", "not used by this rule") for name in names)
    return Option(
        "betas",
        "tuple[float, float]",
        repr(tuple(float(beta) for beta in default_betas(rule))),
        first if first == second else f"{first}; {second}",
        checks,
        tuple(filter(None, names)),
        True,
    )


def _pair(name: str, values: tuple[float, float], text: str) -> Option:
    checks = tuple(
        (f"0.0 <= {name}[{i}] < 1.0", f"Invalid {name} parameter at index {i}: {{{name}[{i}]}}")
        for i in (0, 1)
    )
    default = repr(tuple(map(float, values)))
    return Option(name, "tuple[float, float]", default, text, checks, (), False)


def _number(
    name: str, value: float, text: str, condition: str, noun: str | None = None, positional: bool = False
) -> Option:
    message = f"Invalid {noun or f'{name} value'}: {{{name}}}"
    return Option(name, "float", repr(float(value)), text, ((condition, message),), (name,), positional)
