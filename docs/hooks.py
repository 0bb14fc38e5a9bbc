"""What is added to the pages: committed result files, and tables of what the registries hold.

Tables stand in the pages, behind the comment that asks for them, so that they can be read in the repository;
``python docs/hooks.py`` writes them anew. A page asks for them with a comment: ``<!-- results: NAMES -->``,
``<!-- settings: TYPE -->``, ``<!-- spaces -->``, ``<!-- tasks -->``, and of the rule language
``<!-- stages: PART -->``, ``<!-- terms -->``, ``<!-- schedules -->``, ``<!-- readouts -->``,
``<!-- presets -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "runs" / "results"
REPORT = "reproduction.md"

_COMMENT = re.compile(
    r"^<!-- (results|settings|spaces|tasks|stages|terms|schedules|readouts|presets)(?:: ([\w ]+))? -->$"
    r"(?:\n\n(?:\||`\[).*?\n\n<!-- end -->$)?",
    re.MULTILINE | re.DOTALL,
)
PAGES = ("spaces.md", "rule-language.md")
"""Those with tables."""


def on_files(files: Any, config: Any) -> Any:
    """Add the result files as pages and images."""
    from mkdocs.structure.files import File

    for path in sorted(RESULTS.glob("*/*")):
        uri = f"results/{path.relative_to(RESULTS).as_posix()}"
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in what a page asks for."""
    return _COMMENT.sub(lambda match: _ANSWERS[match[1]](match[2]), markdown)


def with_tables(markdown: str) -> str:
    """A page with its tables written behind the comments that ask for them."""

    def written(match: re.Match[str]) -> str:
        comment = match[0].partition("\n")[0]
        return f"{comment}\n\n{_ANSWERS[match[1]](match[2])}\n\n<!-- end -->"

    return _COMMENT.sub(written, markdown)


def results(names: str) -> str:
    """Where the whole reports on a publication are; mkdocs tells of one that is not there."""
    links = (f"[{name}](results/{name}/{REPORT})" for name in names.split())
    return f"Whole reports, with every figure and the exact command: {', '.join(links)}."


def settings(individual: str) -> str:
    """Every setting of an individual type, section by section; or those of ``execution``, which all have."""
    from pydantic import BaseModel

    from evoopt.config import ExecutionSection
    from evoopt.individuals import individual_type

    if individual == "execution":
        return "\n".join(table(ExecutionSection))
    parts = []
    for name, field in individual_type(individual).config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel) and name != "execution":
            parts.append("\n".join([f"`[{name}]`", "", *table(section)]))
    return "\n\n".join(parts)


def table(section: Any) -> Iterator[str]:
    """The settings of one section as a Markdown table."""
    yield from ("| setting | default | meaning |", "|---|---|---|")
    for name, field in section.model_fields.items():
        registries = [list(entry.names) for entry in field.metadata if hasattr(entry, "names")]
        choices = [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
        choices += [name for names in registries for name in names]
        told = field.description or ""
        meaning = "; ".join(filter(None, [told, "one of " + ", ".join(choices) if choices else ""]))
        yield f"| `{name}` | {default(field)} | {meaning.replace('|', chr(92) + '|')} |"


def default(field: Any) -> str:
    """A default as TOML would have it."""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        value = list(value)
    if value is None or value in ({}, []):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def spaces(_: str) -> str:
    """The shipped search spaces."""
    from evoopt.config import list_spaces

    rows = [f"| `{n}` | {c.individual} | {c.description} |" for n, c in list_spaces().items()]
    return "\n".join(["| space | individual type | what it is |", "|---|---|---|", *rows])


def tasks(_: str) -> str:
    """The built-in tasks."""
    from evoopt.tasks import TASKS

    rows = [(f"`{name}`", task.family, task.description) for name, task in TASKS.items()]
    return _table(("task", "family", "what it is"), rows)


def stages(part: str) -> str:
    """The stages of one part of a rule."""
    from evoopt.optim import STAGES

    kept = {
        "parameter": "a tensor",
        "rows": "a number a row",
        "columns": "a number a column",
        "square": "a square of the smaller side",
        "lying": "a tensor",
    }
    rows = [
        (
            f"`{stage.name}`",
            _code(stage.formula),
            stage.acts_on,
            ", ".join(kept[state.shape] for state in stage.state),
            stage.source,
        )
        for stage in STAGES
        if stage.part == part
    ]
    return _table(("stage", "formula", "needs whole", "state", "published"), rows)


def terms(_: str) -> str:
    """The terms of a weighted sum."""
    from evoopt.optim import MORE_TERMS, TERMS

    rows = [(f"`{term.name}`", _code(term.formula), term.source) for term in (*TERMS, *MORE_TERMS)]
    return _table(("term", "formula", "published"), rows)


def schedules(_: str) -> str:
    """The decays of a learning rate."""
    from evoopt.optim.stages.annealing import DECAY_SHAPES

    rows = [(f"`{shape.name}`", _code(shape.formula), shape.source) for shape in DECAY_SHAPES]
    return _table(("`decay_shape`", "factor", "published"), rows)


def readouts(_: str) -> str:
    """The averages of weights."""
    from evoopt.optim.stages.readout import READOUTS

    rows = [(f"`{readout.name}`", _code(readout.formula), readout.source) for readout in READOUTS]
    return _table(("`readout`", "formula", "published"), rows)


def presets(_: str) -> str:
    """The presets with stages."""
    from evoopt.export.source import load_rule
    from evoopt.export.write_presets import PRESET_CLASSES
    from evoopt.optim import STAGED_PRESETS

    rows = []
    for name, rule in STAGED_PRESETS.items():
        source = load_rule(name)[1].origin.removeprefix(f"preset {name!r}, ")
        rows.append((f"`{name}`", f"`{PRESET_CLASSES[name]}`", _code(rule.formula()), source))
    return _table(("preset", "class", "rule", "published"), rows)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


def _code(formula: str) -> str:
    return f"`{formula.replace('|', chr(92) + '|')}`"


_ANSWERS: dict[str, Callable[[str], str]] = {
    "results": results,
    "settings": settings,
    "spaces": spaces,
    "tasks": tasks,
    "stages": stages,
    "terms": terms,
    "schedules": schedules,
    "readouts": readouts,
    "presets": presets,
}

if __name__ == "__main__":
    for name in PAGES:
        page = ROOT / "docs" / name
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
