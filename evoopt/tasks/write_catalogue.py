"""Writes `evoopt.tasks.catalogue`: ``python -m evoopt.tasks.write_catalogue``."""

from __future__ import annotations

from pathlib import Path

from evoopt.tasks.built_in import TASKS

_HEAD = '''"""The built-in tasks in words: written by ``python -m evoopt.tasks.write_catalogue``."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """Family, metric and description of a task, see `evoopt.tasks.Task`."""

    family: str
    metric: str
    description: str


CATALOGUE: dict[str, Entry] = {
'''

_TAIL = '''

def metric_of(task: str) -> str:
    """What a task's metric is called; that of a person's own task has no name."""
    return CATALOGUE[task].metric if task in CATALOGUE else "metric"
'''

PATH = Path(__file__).with_name("catalogue.py")


def text() -> str:
    """The module as it should be."""
    rows = [
        f'    "{name}": Entry(\n        "{task.family}",\n        "{metric_name(task.metric)}",\n'
        f'        "{task.description}",\n    ),\n'
        for name, task in TASKS.items()
    ]
    return f"{_HEAD}{''.join(rows)}}}\n{_TAIL}"


def metric_name(metric: object) -> str:
    """What a metric is called: the name of its function, in words."""
    return getattr(metric, "__name__", "metric").replace("_", " ")


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
