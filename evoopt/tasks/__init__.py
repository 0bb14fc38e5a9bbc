"""What is learned? Tasks: data, model, loss and metric."""

from __future__ import annotations

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
