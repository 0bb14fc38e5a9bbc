"""The docstring of an exported class: the rule as formulas, its arguments, and where it came from."""

from __future__ import annotations

import json
import re
import textwrap

from evoopt.export.options import Option
from evoopt.export.source import Provenance
from evoopt.export.term_code import corrects_m, corrects_v, nesterov_beta
from evoopt.optim.rule import UpdateRule
from evoopt.optim.term import Term
from evoopt.optim.terms import TERM_BY_NAME

_WIDTH = 84
_SCHEDULE = (
    'The schedule multiplies ``group["lr"]``, which stays free for LR schedulers and for you to set; '
    '``group["scheduled_lr"]`` shows the learning rate of the latest step. The schedule counts the calls of '
    "``step`` that find a gradient and continues from a loaded state_dict; its own ``total_steps`` stays."
)
_PARAMS = (
    "params (iterable)",
    "iterable of parameters or named_parameters to optimize or iterable of dicts defining parameter groups",
)
_TOTAL_STEPS = "total_steps (int, optional)"
_WARMUP_ONLY = (_TOTAL_STEPS, "length of the training in steps, which a warmup without decay does not need")
_SCHEDULING = (
    (_TOTAL_STEPS, "length of the training in steps; required unless schedule=False"),
    (
        "schedule (bool, optional)",
        'whether to schedule the learning rate; if False it is ``group["lr"]`` itself (default: True)',
    ),
)
_FLAGS = (
    (
        "foreach (bool, optional)",
        "whether the foreach implementation is used; if None, it is where all parameters are on CUDA "
        "(default: None)",
    ),
    ("maximize (bool, optional)", "maximize the objective, instead of minimizing (default: False)"),
    (
        "capturable (bool, optional)",
        "whether this instance is safe to capture in a CUDA graph; it slows one that is not captured "
        "(default: False)",
    ),
    (
        "fused (bool, optional)",
        "whether one pass over memory makes the whole update of a tensor, compiled by torch.compile at the "
        "first step; the fastest on a CPU (default: None, that is not)",
    ),
    (
        "stochastic_rounding (bool, optional)",
        "whether what is stored as bfloat16 is rounded up or down at random, so that steps too small for it "
        "count on average (default: False)",
    ),
)


def class_docstring(
    class_name: str, rule: UpdateRule, provenance: Provenance, arguments: list[Option]
) -> str:
    """Docstring in quotes, indented as the body of a class, for a canonical rule."""
    scheduled = bool(rule.warmup_steps or rule.cosine)
    entries = [
        _PARAMS,
        *(
            (
                f"{option.name} ({option.annotation}, optional)",
                f"{option.documentation} (default: {option.default})",
            )
            for option in arguments
        ),
        *((_SCHEDULING if rule.cosine else (_WARMUP_ONLY, *_SCHEDULING[1:])) if scheduled else ()),
        *_FLAGS,
    ]
    blocks = [
        [f"Implements the {class_name} update rule::"],
        _wrap(rule.formula(), first=" " * 4, rest=" " * 8),
        _wrap(f"One step does, for each parameter ``w`` with gradient ``g``{_count(rule)}::"),
        [f"    {line}" for line in formulas(rule)],
        *([_wrap(_SCHEDULE)] if scheduled else []),
        ["Args:", *(line for entry in entries for line in _entry(*entry))],
        ["Origin:", *_origin(rule, provenance)],
    ]
    text = "\n\n".join("\n".join(block) for block in blocks)
    return textwrap.indent(f'"""{_escape(text)}\n"""', "    ")


def formulas(rule: UpdateRule) -> list[str]:
    """One operation of a step per line, in the order they are done; ``t`` counts steps from 1."""
    lr = "lr_t" if rule.warmup_steps or rule.cosine else "lr"
    lines = []
    if lr == "lr_t":
        warmup = ["min(t / warmup_steps, 1)"] if rule.warmup_steps else []
        cosine = ["(1 + cos(pi * (t - 1) / total_steps)) / 2"] if rule.cosine else []
        lines.append(f"lr_t = {' * '.join(['lr', *warmup, *cosine])}")
    if rule.clip_value is not None:
        lines.append("g = clamp(g, -clip_value, clip_value)")
    lines.append(f"w = w * (1 - {lr} * weight_decay)")
    if rule.uses("m_prev"):
        lines.append("m_prev = m")
    if rule.use_m:
        lines.append("m = beta1 * m + (1 - beta1) * g")
    if rule.use_v:
        lines.append("v = beta2 * v + (1 - beta2) * g**2")
    if corrects_m(rule):
        lines.append("m_hat = m / (1 - beta1**t)")
    if corrects_v(rule):
        lines.append("v_hat = v / (1 - beta2**t)")
    for name, _ in rule.terms:
        lines.append(f"w = w - {lr} * {name}_weight * {_formula(TERM_BY_NAME[name], rule)}")
    return lines


def _formula(term: Term, rule: UpdateRule) -> str:
    """The term's formula in the names of the lines before it."""
    text = re.sub(r"(?<!\*)([-+*/])(?!\*)", r" \1 ", term.formula)
    root = f"sqrt({'v_hat' if corrects_v(rule) else 'v'})" if rule.use_v else "|g|"
    text = text.replace("sqrt(v)", root).replace("beta1", nesterov_beta(rule))
    if corrects_m(rule) and term.reads_scale_of_m:
        text = re.sub(r"\bm\b", "m_hat", text)
    return f"({text})" if term.is_sum else text


def _count(rule: UpdateRule) -> str:
    uses_t = corrects_m(rule) or corrects_v(rule) or rule.warmup_steps or rule.cosine
    return " (``t`` counts from 1)" if uses_t else ""


def _origin(rule: UpdateRule, provenance: Provenance) -> list[str]:
    entries = (
        ("Exported from", provenance.origin),
        ("Run", provenance.run),
        ("Data", provenance.data),
        ("Budget", provenance.budget),
        ("Compared with tuned Adam", provenance.comparison),
        ("Found best by tuning", provenance.tuned),
        ("Hash of the rule", rule.key),
    )
    kind, data = (
        ("Rule", rule.to_json()) if provenance.genome is None else ("Genome", dict(provenance.genome))
    )
    return [
        *(line for name, text in entries if text for line in _entry(name, text)),
        f"    {kind} as JSON::",
        "",
        *_wrap(json.dumps(data), first=" " * 8, rest=" " * 8),
    ]


def _entry(name: str, text: str) -> list[str]:
    return _wrap(f"{name}: {text}", first=" " * 4, rest=" " * 8)


def _wrap(text: str, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _escape(text: str) -> str:
    # Origins quote what people wrote: nothing in them may end the docstring or start an escape.
    printable = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    return printable.replace("\\", "\\\\").replace('"""', "'''")
