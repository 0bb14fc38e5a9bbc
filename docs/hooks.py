"""What the build adds to the pages: committed result files, and tables of settings, spaces and tasks.

A page asks for them with a comment: ``<!-- results: NAME -->``, ``<!-- settings: TYPE -->``,
``<!-- spaces -->``, ``<!-- tasks -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "runs" / "results"
REPORT = "reproduction.md"

_COMMENT = re.compile(r"^<!-- (results|settings|spaces|tasks)(?:: (\w+))? -->$", re.MULTILINE)


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


def results(name: str) -> str:
    """Where a publication's own figures are, if they have been committed."""
    if (RESULTS / name / REPORT).is_file():
        return f"Our own figures, beside the published ones: [the whole report](results/{name}/{REPORT})."
    return f"No figures of our own are committed under `runs/results/{name}/` yet."


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

    rows = [f"| `{name}` | {task.description} |" for name, task in TASKS.items()]
    return "\n".join(["| task | what it is |", "|---|---|", *rows])


_ANSWERS: dict[str, Callable[[str], str]] = {
    "results": results,
    "settings": settings,
    "spaces": spaces,
    "tasks": tasks,
}
