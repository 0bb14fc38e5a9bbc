"""Tasks by name, and the way to a person's own."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from evoopt.errors import EvooptError, unknown_name
from evoopt.tasks.built_in import TASKS
from evoopt.tasks.files import one_line
from evoopt.tasks.task import Task


def get_task(name: str) -> Task:
    """Find a task by its name, or make one from a person's own file.

    Args:
        name: A key of `TASKS`, or ``path/to/file.py:function``, where the function takes no arguments and
            returns a `Task`. The file is executed anew by each call, and may import modules beside it.

    Raises:
        EvooptError: Unknown name, no such file or function, or a function that fails.
    """
    if name in TASKS:
        return TASKS[name]
    path, _, function = name.rpartition(":")
    if path.endswith(".py"):
        return _call(name, Path(path).expanduser(), function)
    if name.endswith(".py") or os.sep in name:
        raise EvooptError(f"task {name!r}: write path/to/file.py:function, e.g. my_task.py:make_task")
    raise unknown_name("task", name, TASKS)


def import_file(path: Path, prefix: str, *, once: bool = False) -> ModuleType:
    """Execute a person's own Python file as a module; it may import modules beside it.

    Args:
        path: The file.
        prefix: What the module's name begins with; the rest follows from the path.
        once: Whether a file that was executed before is not executed again.

    Raises:
        EvooptError: No such file, or one that fails.
    """
    if not path.is_file():
        raise EvooptError(f"there is no file {path}")
    path = path.resolve()
    name = f"{prefix}_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    if once and name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # because the suffix is .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[name] = module  # dataclasses in the file look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a person's own code
        del sys.modules[name]
        raise EvooptError(f"importing {path.name} raised {one_line(error)}") from error
    return module


def _call(name: str, path: Path, function: str) -> Task:
    try:
        module = import_file(path, "evoopt_task")
    except EvooptError as error:
        raise EvooptError(f"task {name!r}: {error}") from error.__cause__
    make = getattr(module, function, None)
    if not callable(make):
        raise EvooptError(f"task {name!r}: {path} defines no function {function!r}")
    try:
        task = make()
    except EvooptError:
        raise
    except (Exception, SystemExit) as error:  # a person's own code
        raise EvooptError(f"task {name!r}: {function}() raised {one_line(error)}") from error
    if not isinstance(task, Task):
        raise EvooptError(
            f"task {name!r}: {function}() returned {type(task).__name__}, expected evoopt.tasks.Task"
        )
    return task
