"""Render an update rule as the source of a `torch.optim.Optimizer` class, and write it to a file."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from evoopt.errors import EvooptError
from evoopt.export.docstring import class_docstring
from evoopt.export.naming import check_class_name, check_file_name, function_name
from evoopt.export.options import Option, options
from evoopt.export.source import Provenance, load_rule
from evoopt.export.stage_code import (
    fraction_lines,
    has_stages,
    moves,
    schedule_constants,
    share_lines,
)
from evoopt.export.statements import many, wrapped
from evoopt.export.term_code import (
    corrects_m,
    corrects_v,
    foreach_lines,
    kernel_lines,
    loop_lines,
)
from evoopt.optim.betas import beta_names
from evoopt.optim.groups import matrix_roles
from evoopt.optim.rule import UpdateRule
from evoopt.optim.stages.shape import LEAST_ROOT
from evoopt.optim.stages.stage import WIDE
from evoopt.runs.run import write_file
from evoopt.version import __version__


def render(rule: UpdateRule, class_name: str, provenance: Provenance | None = None) -> str:
    """Source of a file that defines ``class_name`` and imports only torch.

    Args:
        rule: What the class does at each step; its canonical form is what is written.
        class_name: Name of the class.
        provenance: What the docstring says about the rule's origin.

    Returns:
        Python source: the class with a plain, a foreach and a fused implementation, and without stages its
        functional form.

    Raises:
        EvooptError: A name that a class cannot bear, or a rule without terms.
    """
    check_class_name(class_name)
    rule = rule.canonical()
    if not rule.terms:
        raise EvooptError("this rule has no terms, or they cancel out: there is nothing to export")
    arguments = options(rule)
    schedule = rule.has_schedule
    staged, fn = has_stages(rule), function_name(class_name)
    common: dict[str, Any] = {
        "staged": staged,
        "schedule": schedule,
        "length": schedule or rule.readout == "mean",
        "needs_length": rule.needs_total_steps,
        "ends": rule.cosine or rule.decay_shape != "none",
        "fractions": fraction_lines(rule),
        "schedule_constants": schedule_constants(rule),
        **(_staged(rule, arguments) if staged else _three_implementations(rule, arguments, fn)),
    }
    return _template("staged" if staged else "optimizer").render(
        **common,
        cls=class_name,
        fn=fn,
        version=__version__,
        docstring=class_docstring(class_name, rule, provenance or Provenance("an update rule"), arguments),
        arguments=arguments,
        warmup=rule.warmup_steps > 0,
        cosine=rule.cosine,
    )


def _three_implementations(rule: UpdateRule, arguments: list[Option], fn: str) -> dict[str, Any]:
    """What the template says of a rule that is a weighted sum of terms: a loop, lists and a kernel."""
    multi_lines, (kernel, weights, numbers) = foreach_lines(rule), kernel_lines(rule)
    buffers = [name for name, used in (("exp_avg", rule.use_m), ("exp_avg_sq", rule.use_v)) if used]
    return {
        "constants": [name for option in arguments for name in option.constants],
        "betas": ", ".join(name or "_" for name in beta_names(rule)),
        "buffers": buffers,
        "kept": "".join(f', "{name}"' for name in buffers),
        "kernel_name": f"_kernel_{fn}",
        "whole": False,
        "own": ["param", *buffers],
        "apart": False,
        "averages": (),
        "wide": (),
        "loop_lines": loop_lines(rule),
        "foreach_lines": multi_lines,
        "kernel_lines": kernel,
        "numbers": numbers,
        "weights": weights,
        "corrected": [k for k, used in ((1, corrects_m(rule)), (2, corrects_v(rule))) if used],
        "helpers": [
            name for name in ("_add_scaled_", "_addcdiv_scaled_") if any(name in line for line in multi_lines)
        ],
    }


def _staged(rule: UpdateRule, arguments: list[Option]) -> dict[str, Any]:
    """The same of a rule with stages."""
    found, apart, averages = moves(rule, arguments), rule.tells_matrices_apart, share_lines(rule)
    compiled = found[-1]
    own = ["param", *compiled.kept, *(["average"] if averages else ())]
    return {
        "moves": found,
        "many": many,
        "apart": apart,
        "matrices": rule.needs_matrices,
        "matrix_roles": json.dumps(sorted(matrix_roles(rule))),
        "checked": rule.needs_matrices or found[0].whole,
        "lists": ["matrices", "others"] if apart else ["rows"],
        "kept": ", *_kept(p, group)" if apart else ", *_KEPT",
        "averages": averages,
        "averages_end": rule.readout == "mean",
        "shapes": {shape for move in found for shape in move.kept.values()},
        "newton_schulz": rule.shape.startswith("orthogonal"),
        "eigenbasis": rule.decomposes,
        "least_root": LEAST_ROOT,
        "wide": [
            *(name for move in found for name, shape in move.kept.items() if shape in WIDE),
            *(["average"] if averages else ()),
        ],
        "whole": any(move.whole for move in found),
        "own": own,
        "pieces": wrapped("for piece in ", f"zip({', '.join(map(many, own))}, grads, strict=True)", ":"),
        "numbers": [*compiled.numbers, *(["share"] if averages else ())],
        "counts": averages or any(re.search(r"\bstep\b", text) for text in compiled.numbers.values()),
        "kernel_name": "_kernel",
    }


def write_export(
    source: str | Path,
    out: str | Path,
    name: str,
    force: bool = False,
    prefer: str | None = None,
    member: str | None = None,
) -> Path:
    """Write the class of a rule to a file of its own.

    Args:
        source: What `load_rule` accepts.
        out: File to write.
        name: Name of the class.
        force: Whether to replace an existing file.
        prefer: Which of a run's finalists, see `load_rule`.
        member: The same by number or hash.

    Returns:
        The file written.

    Raises:
        EvooptError: An unknown source, a bad name of class or file, an existing file without ``force``, or
            one that cannot be written.
    """
    path = Path(out)
    if path.is_dir():
        raise EvooptError(f"{path} is a folder; name a file to write, such as {path / 'my_optimizer.py'}")
    check_file_name(path)
    rule, provenance = load_rule(source, prefer, member)
    text = render(rule, name, provenance)
    try:
        if not force:
            path.open("x").close()  # instead of a look: no file can come in between
    except FileExistsError:
        # An empty file is what a kill between here and the end left.
        if path.is_symlink() or not path.is_file() or path.stat().st_size:
            raise EvooptError(f"{path} exists already; add --force to replace it") from None
    except OSError as error:
        raise EvooptError(f"cannot write {path}: {error.strerror}") from None
    try:
        write_file(path, text)
    except EvooptError:
        if not force:
            path.unlink(missing_ok=True)
        raise
    return path


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("evoopt.export"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template(f"{name}.py.jinja")
