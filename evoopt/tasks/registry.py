"""Tasks by name, and the way to a person's own."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from evoopt.errors import EvooptError, one_line, unknown_name
from evoopt.tasks.built_in import TASKS
from evoopt.tasks.rescaling import SUFFIX, rescaled
from evoopt.tasks.task import Task

_folders: set[Path] = set()
"""Those of the files that were executed."""


def get_task(name: str) -> Task:
    """Find a task by its name, or make one from a person's own file.

    Args:
        name: A key of `TASKS`, or ``path/to/file.py:function``, where the function takes no arguments and
            returns a `Task`. The file is executed anew by each call, and may import modules beside it.
            With ``@rescaled`` behind it, the task with weights on random scales.

    Raises:
        EvooptError: Unknown name, no such file or function, or a function that fails.
    """
    if name.endswith(SUFFIX):
        return rescaled(get_task(name.removesuffix(SUFFIX)))
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
    sys.modules[name] = module  # dataclasses in the file look their module up there
    try:
        with _beside(path.parent):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a person's own code
        del sys.modules[name]
        raise EvooptError(f"importing {path.name} raised {one_line(error)}") from error
    return module


@contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """Inside, what lies in a folder is imported from there, not from beside a file of another folder."""
    strange = {
        name
        for name, module in sys.modules.items()
        if _homes(module) & _folders - {folder}
        and ((folder / name).is_dir() or (folder / f"{name}.py").is_file())
    }
    for name in list(sys.modules):
        if name.partition(".")[0] in strange:
            del sys.modules[name]
    _folders.add(folder)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        # Behind all others, for what is imported later: there it hides nothing of the program's.
        with suppress(ValueError):
            sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def _homes(module: Any) -> set[Path]:
    known = getattr(module, "__dict__", {})
    # A folder without __init__.py may be spread over several places.
    return {Path(place).parent for place in known.get("__path__") or [known.get("__file__")] if place}


def _call(name: str, path: Path, function: str) -> Task:
    try:
        module = import_file(path, "evoopt_task")
    except EvooptError as error:
        raise EvooptError(f"task {name!r}: {error}") from error.__cause__
    make = getattr(module, function, None)
    if not callable(make):
        raise EvooptError(f"task {name!r}: {path} defines no function {function!r}")
    try:
        with _beside(path.resolve().parent):
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
