"""What is learned? Tasks: data, model, loss and metric. They are imported when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evoopt.tasks import models
    from evoopt.tasks.built_in import EMBEDDED, TASKS
    from evoopt.tasks.loading import load_task_data
    from evoopt.tasks.registry import get_task
    from evoopt.tasks.splitting import split_data
    from evoopt.tasks.task import DataOptions, SealedSplit, Split, Task, TaskData, accuracy

__all__ = [
    "EMBEDDED",
    "TASKS",
    "DataOptions",
    "SealedSplit",
    "Split",
    "Task",
    "TaskData",
    "accuracy",
    "get_task",
    "load_task_data",
    "models",
    "split_data",
]

_MODULES = {
    **dict.fromkeys(("EMBEDDED", "TASKS"), "built_in"),
    **dict.fromkeys(("DataOptions", "SealedSplit", "Split", "Task", "TaskData", "accuracy"), "task"),
    "get_task": "registry",
    "load_task_data": "loading",
    "split_data": "splitting",
}


def __getattr__(name: str) -> Any:
    if name == "models":
        return importlib.import_module("evoopt.tasks.models")
    if name in _MODULES:
        return getattr(importlib.import_module(f"evoopt.tasks.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
