"""Update rules as ready-made classes, generated in memory; the presets lie in `evoopt.optim.generated`."""

from __future__ import annotations

import copyreg
import hashlib
import linecache
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from evoopt.export.render import render
from evoopt.export.source import Provenance, load_rule
from evoopt.optim.rule import UpdateRule
from evoopt.runs.run import Run


def from_rule(rule: UpdateRule, name: str = "EvolvedRule", provenance: Provenance | None = None) -> type[Any]:
    """Make a `torch.optim.Optimizer` class of a rule: what ``evoopt export`` writes, without the file.

    Instances can be copied, saved and pickled. The class itself is unknown to another process; export a file
    to hand it over.

    Args:
        rule: The rule.
        name: Name of the class.
        provenance: Origin to show in its docstring.

    Returns:
        The class; the same one for the same arguments.

    Raises:
        EvooptError: A name that a class cannot bear, or a rule without terms.
    """
    source = render(rule, name, provenance)
    module_name = f"{__name__}.{name}_{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    if module_name not in sys.modules:
        file = f"<{module_name}>"
        module = ModuleType(module_name)
        module.__file__ = file
        exec(compile(source, file, "exec"), module.__dict__)
        # So that tracebacks and help show the code, and pickle finds the class.
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        sys.modules[module_name] = module

        def reduce(optimizer: Any) -> tuple[Any, ...]:
            return _bare, (rule, name, provenance), optimizer.__getstate__()

        copyreg.pickle(getattr(module, name), reduce)
    cls: type[Any] = getattr(sys.modules[module_name], name)
    return cls


def _bare(rule: UpdateRule, name: str, provenance: Provenance | None) -> Any:
    """An instance that waits for its state, for pickles that another process reads."""
    return object.__new__(from_rule(rule, name, provenance))


def from_run(folder: str | Path, name: str = "EvolvedRule") -> type[Any]:
    """Make a `torch.optim.Optimizer` class of a finished run's winner.

    Args:
        folder: The run folder.
        name: Name of the class.

    Returns:
        The class.

    Raises:
        EvooptError: Not a run folder, or a run that is not finished.
    """
    Run(folder).close()  # so that a path that is no run is said to be none
    return from_genome(folder, name)


def from_genome(source: str | Path, name: str = "EvolvedRule") -> type[Any]:
    """Make a `torch.optim.Optimizer` class of whatever ``evoopt export`` accepts.

    Args:
        source: Preset name or path, see `evoopt.export.load_rule`.
        name: Name of the class.

    Returns:
        The class.

    Raises:
        EvooptError: An unknown source, or a name that a class cannot bear.
    """
    rule, provenance = load_rule(source)
    return from_rule(rule, name, provenance)
