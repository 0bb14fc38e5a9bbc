"""The docstring of an exported class: the rule as formulas, its arguments, and where it came from."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

from evoopt.export.formulas import formulas, formulas_of_others
from evoopt.export.options import Option
from evoopt.export.source import Provenance
from evoopt.export.term_code import corrects_m, corrects_v
from evoopt.optim.rule import UpdateRule

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
_READOUT = (
    "On the way the weights are averaged. The model always holds the last ones, and ``model.eval()`` does "
    "not change that: score and save the average inside ``with optimizer.averaged():``, or copy it into "
    "another model with ``copy_averaged_to``. Running statistics, as those of BatchNorm, belong to the last "
    "weights: ``averaged(model, batches)`` computes them anew, ``torch.optim.swa_utils.update_bn`` in a copy."
)
_TELLS = {
    "ema": "The average is ``ema(w, ema_decay) / (1 - ema_decay**t)``, kept as ``average`` in the state.",
    "mean": "The average is the mean of the last ``mean_fraction`` of the training, kept as ``average`` in "
    "the state; before it begins it is the last weights.",
}
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


_FUSED_MATRICES = "; matrices are moved as with foreach"


def class_docstring(
    class_name: str, rule: UpdateRule, provenance: Provenance, arguments: list[Option]
) -> str:
    """Docstring in quotes, indented as the body of a class, for a canonical rule."""
    scheduled = rule.has_schedule
    entries = [
        _PARAMS,
        *(
            (
                f"{option.name} ({option.annotation}, optional)",
                f"{option.documentation} (default: {option.default})",
            )
            for option in arguments
        ),
        *_length(rule),
        *_flags(rule),
    ]
    kind = "matrix" if rule.tells_matrices_apart else "parameter"
    blocks = [
        [f"Implements the {class_name} update rule::"],
        _wrap(rule.formula(), first=" " * 4, rest=" " * 8),
        _wrap(f"One step does, for each {kind} ``w`` with gradient ``g``{_count(rule)}::"),
        _formulas(formulas(rule)),
        *(_others(rule) if rule.tells_matrices_apart else []),
        *([_wrap(_SCHEDULE)] if scheduled else []),
        *([_wrap(f"{_READOUT} {_TELLS[rule.readout]}")] if rule.readout != "last" else []),
        ["Args:", *(line for entry in entries for line in _entry(*entry))],
        ["Origin:", *_origin(rule, provenance)],
    ]
    text = "\n\n".join("\n".join(block) for block in blocks)
    return textwrap.indent(f'"""{_escape(text)}\n"""', "    ")


def _length(rule: UpdateRule) -> tuple[tuple[str, str], ...]:
    """What is said of the length of the training and of the schedule."""
    schedule = _SCHEDULING[1:] if rule.has_schedule else ()
    if rule.readout == "mean":
        return (_TOTAL_STEPS, "length of the training in steps; required"), *schedule
    if rule.needs_total_steps:
        return _SCHEDULING
    return (_WARMUP_ONLY, *schedule) if schedule else ()


def _flags(rule: UpdateRule) -> Iterator[tuple[str, str]]:
    for name, text in _FLAGS:
        of_matrices = rule.tells_matrices_apart and name.startswith("fused")
        if name.startswith("capturable") and rule.decomposes:
            text = "keep step counts on the device; a CUDA graph cannot hold eigenvectors (default: False)"
        yield name, text.replace(" (default", f"{_FUSED_MATRICES} (default") if of_matrices else text


def _formulas(lines: list[str]) -> list[str]:
    return [part for line in lines for part in _wrap(line, first=" " * 4, rest=" " * 8)]


def _others(rule: UpdateRule) -> list[list[str]]:
    """What is said of parameters that are no matrices."""
    layers = "embeddings" if rule.shape_output else "embeddings and for the output layer"
    makers = "``matrix_groups`` of evoopt.optim makes such groups from a model and a rule"
    if not rule.shape_output:
        makers = f"{makers}, ``parameter_groups`` of evoopt.integrations from a model alone"
    what = "Adam with the decay of the rule" if rule.others == "adam" else "the rule without such stages"
    text = (
        "A matrix is a parameter of two or more dimensions, seen as ``[out, rest]``, unless its group says "
        f"``matrix=False``, as it should for {layers}: {makers}. Each other parameter follows {what}::"
    )
    return [_wrap(text), _formulas(formulas_of_others(rule))]


def _count(rule: UpdateRule) -> str:
    corrects = any(corrects_m(of) or corrects_v(of) for of in (rule, rule.others_rule))
    uses_t = corrects or rule.has_schedule or rule.readout == "ema"
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
