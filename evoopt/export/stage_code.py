"""Python source of the step of a rule with stages, in the order of `evoopt.optim.step`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from evoopt.export.kernel_code import kernel_lines
from evoopt.export.list_code import foreach_lines
from evoopt.export.options import Option
from evoopt.export.term_code import corrects_m, corrects_v, nesterov_beta
from evoopt.optim.betas import beta_names
from evoopt.optim.rule import UpdateRule
from evoopt.optim.stages.annealing import DECAY_SHAPE_BY_NAME
from evoopt.optim.stages.readout import READOUT_BY_NAME
from evoopt.optim.step import keeps
from evoopt.optim.term import Average, Calls, Term
from evoopt.optim.terms import TERM_BY_NAME


@dataclass(frozen=True)
class Move:
    """How an exported class moves parameters of one kind.

    Attributes:
        name: Name of the function that moves them.
        kept: What is kept for each, by name: its shape, one of `State`.
        lines: Statements that move one tensor, named ``param``, ``grad`` and as in ``kept``.
        foreach_lines: The same for lists of tensors.
        kernel_lines: The same for a compiler; none for matrices that are told apart.
        numbers: Numbers that those read, by name, as expressions.
        constants: Statements that read constants from the group.
        whole: Whether it needs a tensor whole.
    """

    name: str
    kept: Mapping[str, str]
    lines: list[str]
    foreach_lines: list[str]
    kernel_lines: list[str]
    numbers: Mapping[str, str]
    constants: list[str]
    whole: bool


_Code = dict[tuple[str, str], tuple[str, ...]]


def has_stages(rule: UpdateRule) -> bool:
    """Whether a rule is more than a weighted sum of terms with a schedule."""
    around = rule.tells_matrices_apart or rule.readout != "last" or rule.uses("power")
    return bool(rule.active) or around


def moves(rule: UpdateRule, arguments: list[Option]) -> list[Move]:
    """Those of a canonical rule: of its matrices and of what is none, or only one for all."""
    if not rule.tells_matrices_apart:
        return [_move("_move_", rule, rule, arguments)]
    adam = rule.others == "adam"
    matrix = _move("_move_matrix_", rule, rule, arguments, compiled=False)
    return [matrix, _move("_move_other_", rule, rule.others_rule, arguments, adam=adam)]


def share_lines(rule: UpdateRule) -> list[str]:
    """Statements that return the share of the new weights in their average; none without averages."""
    if rule.readout == "last":
        return []
    lines = READOUT_BY_NAME[rule.readout].code
    names = ("ema_decay", "mean_fraction", "total_steps")
    return [*_assigned((name, name) for name in names if _reads(lines, name)), *lines]


def schedule_constants(rule: UpdateRule) -> list[str]:
    """Names of what the factor of the schedule depends on, besides the step."""
    decays = rule.decay_shape != "none"
    used = {
        "warmup_steps": rule.warmup_steps > 0,
        "warmup_fraction": rule.warmup_fraction > 0,
        "decay_start": decays,
        "decay_floor": decays,
        "decay_power": rule.decay_shape == "power",
        "total_steps": rule.needs_total_steps,
    }
    return [name for name, is_used in used.items() if is_used]


def fraction_lines(rule: UpdateRule) -> list[str]:
    """Statements that return the factor of a schedule in fractions; none without."""
    warmup = "_clamped((step + 1) / max(warmup_fraction * total_steps, 1))"
    decay = "decay_floor + (1 - decay_floor) * shape"
    if rule.decay_shape == "none":
        return [f"return {warmup}"] if rule.warmup_fraction else []
    code = DECAY_SHAPE_BY_NAME[rule.decay_shape].code
    shape = re.sub(r"math\.(cos|sqrt)", r"library.\1", code)
    lines = [
        "library: Any = torch if isinstance(step, Tensor) else math" if shape != code else "",
        "x = _clamped((step / total_steps - decay_start) / (1 - decay_start))",
        f"shape = {shape}",
        f"warmup = {warmup}" if rule.warmup_fraction else "",
        f"return warmup * ({decay})" if rule.warmup_fraction else f"return {decay}",
    ]
    return list(filter(None, lines))


def _move(
    name: str,
    rule: UpdateRule,
    followed: UpdateRule,
    arguments: list[Option],
    *,
    adam: bool = False,
    compiled: bool = True,
) -> Move:
    """What the class of a rule does to parameters that follow the rule itself, its others, or its Adam."""
    lines = _lines(followed, weighted=not adam)
    kept = {state.name: state.shape for state in keeps(followed)}
    acts_on = {stage.acts_on for stage in followed.active}
    names = ("beta1", "beta2") if adam else beta_names(rule)
    tensors = ["param", *kept, "grad"]
    for_lists = foreach_lines(lines, tensors)
    kernel, numbers = kernel_lines(lines, tensors) if compiled else ([], {})

    def constants(of: Iterable[str]) -> list[str]:
        return _constants(of, names, arguments, adam)

    return Move(
        name,
        kept,
        [*constants(lines), "", *lines],
        [*constants(for_lists), "", *for_lists],
        kernel,
        numbers,
        constants(numbers.values()),
        whole=not acts_on <= {"element"},
    )


def _constants(
    lines: Iterable[str], names: tuple[str | None, ...], arguments: list[Option], adam: bool
) -> list[str]:
    """Assignments of the constants that some lines read, of betas by their names."""
    betas = [name if name and _reads(lines, name) else "_" for name in names]
    own = {option.name for option in arguments} - {"lr", "betas", *names}
    sources = {option.name: option.name for option in arguments if option.name in own}
    if adam:
        sources["eps"] = "others_eps"
    return [
        *([f'{", ".join(betas)} = group["{"others_" * adam}betas"]'] if betas != ["_", "_"] else ()),
        *_assigned((name, source) for name, source in sources.items() if _reads(lines, name)),
    ]


def _assigned(names: Iterable[tuple[str, str]]) -> list[str]:
    return [f'{name} = group["{source}"]' for name, source in names]


def _reads(lines: Iterable[str], name: str) -> bool:
    return any(re.search(rf"\b{name}\b", line) for line in lines)


def _lines(rule: UpdateRule, weighted: bool) -> list[str]:
    code: _Code = {(stage.part, stage.name): stage.code for stage in rule.active}
    terms = [TERM_BY_NAME[name] for name, _ in rule.terms]
    early = [term for term in terms if "m_prev" in term.uses]
    late = [term for term in terms if term not in early]
    blocks = [
        ["grad = grad.clamp(-clip_value, clip_value)"] if rule.clip_value is not None else [],
        *(code.get(("gradient", name), ()) for name in ("gradient_difference", "clip_norm", "l2")),
        [] if rule.second_moment == "full" else code["moments", rule.second_moment],
        _denominator(rule),
        *(code.get(("moments", name), ()) for name in ("normalize_first", "slow_beta")),
        [f"{term.name} = {_calls(term.form)}" for term in early if isinstance(term.form, Calls)],
        ["exp_avg.lerp_(grad, 1 - beta1)"] if rule.use_m else [],
        ["momentum = exp_avg / (1 - beta1**step)"] if corrects_m(rule) else [],
        _sum(rule, [*early, *late], weighted),
        code.get(("mask", rule.mask), ()),
        code.get(("shape", rule.shape), ()),
        *_decay_and_scale(rule, code),
        ["param.sub_(lr * update)"],
    ]
    return [line for block in blocks for line in block]


def _denominator(rule: UpdateRule) -> list[str]:
    if not (rule.uses("v") or rule.normalize_first):
        return []
    if not rule.use_v:
        return ["denom = grad.abs() + eps"]
    second = "(exp_avg_sq / (1 - beta2**step))" if corrects_v(rule) else "exp_avg_sq"
    own = ["exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)"]
    return [*(own if rule.second_moment == "full" else ()), f"denom = {second}.sqrt() + eps"]


def _sum(rule: UpdateRule, terms: list[Term], weighted: bool) -> list[str]:
    m = "momentum" if corrects_m(rule) else "exp_avg" if rule.use_m else "grad"
    names = {"g": "grad", "m": m, "m2": "exp_avg_slow"}
    values = []
    for term in terms:
        weight = f"{term.name}_weight"
        if isinstance(term.form, Average):
            factors = {"g": term.form.g, "m": term.form.m, "m2": term.form.m2}
            for of, factor in factors.items():
                if factor:
                    scale = factor.format(weight=weight, nesterov_beta=nesterov_beta(rule))
                    values.append(f"{scale} * {names[of]}")
            continue
        if "m_prev" in term.uses:
            value = term.name
        elif isinstance(term.form, Calls):
            value = _calls(term.form)
        else:
            over = "denom" if term.form.over == "v" else "(grad.abs() + eps)"
            value = f"{names[term.form.numerator]} / {over}"
        values.append(f"{weight} * {value}" if weighted else value)
    return [f"update = {'update + ' * (k > 0)}{value}" for k, value in enumerate(values)]


def _calls(form: Calls) -> str:
    operation, of, *arguments = form.first
    made = _call({"g": "grad", "m": "exp_avg"}[of], operation, *arguments)
    for operation, *arguments in form.rest:
        made = _call(made, operation, *arguments)
    return made


def _call(of: str, operation: str, *arguments: str) -> str:
    words = {"gradient": "grad", "sign(gradient)": "grad.sign()"}
    return f"{of}.{operation}({', '.join(words.get(word, word) for word in arguments)})"


def _decay_and_scale(rule: UpdateRule, code: _Code) -> Iterable[Iterable[str]]:
    cautious = code.get(("decay", "cautious_decay"), ())
    decayed = "decayed" if cautious else "param"
    yield cautious
    if rule.scale == "trust":
        yield [f"update = update + weight_decay * {decayed}"]
    elif cautious:
        yield ["param.sub_(lr * weight_decay * decayed)"]
    else:
        yield ["param.mul_(1 - lr * weight_decay)"]
    yield code.get(("scale", rule.scale), ())
