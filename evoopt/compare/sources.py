"""From what people write to contenders: runs, files, presets, classes."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from evoopt.compare.contender import Contender, class_contender, rule_contender
from evoopt.compare.optimizer_classes import find_class
from evoopt.compare.space import DECLARED, rule_space
from evoopt.errors import EvooptError, read_as_data, unknown_name
from evoopt.export.source import read_json, rule_from_json
from evoopt.optim.presets import PRESETS, STAGED_PRESETS
from evoopt.optim.rule import UpdateRule
from evoopt.runs.run import CONFIG_FILE, Run

TORCH_CLASSES = {
    "nadam": "torch.optim:NAdam",
    "radam": "torch.optim:RAdam",
    "adamax": "torch.optim:Adamax",
    "adagrad": "torch.optim:Adagrad",
    "torch_muon": "evoopt.compare.torch_muon:TorchMuon",
}
"""Baselines that no update rule expresses, or torch in its own way, by the name they are asked for."""

PACKAGE_CLASSES = {"schedulefree_adamw": "schedulefree:AdamWScheduleFree"}
"""Baselines of packages, each an extra of the package's name."""

BASELINES = ("adam", "adamw", "sgd", "nadam", "rmsprop", "lion")

_CLASSES = TORCH_CLASSES | PACKAGE_CLASSES
_PUBLISHED_ON = ("fashion_mnist", "cifar10", "mnist")


def contender(source: str | Path) -> Contender:
    """Find the contender that a text names.

    Args:
        source: A preset (``adam``), a `TORCH_CLASSES` or `PACKAGE_CLASSES` name (``nadam``), a run folder, a
            JSON file with a rule or a genome, a Python file with an optimizer class, or ``module:Class``.

    Raises:
        EvooptError: Unknown, unreadable, or not an optimizer; the message names the nearest known name.
    """
    text, path = str(source), Path(source).expanduser()
    if text in PRESETS:
        seen = {"search_tasks": _PUBLISHED_ON, "saw_test": frozenset(_PUBLISHED_ON)}
        about: dict[str, Any] = seen if text == "marfinetz2025" else {}
        return rule_contender(text, PRESETS[text], DECLARED[text], **about)
    if text in STAGED_PRESETS:
        rule = STAGED_PRESETS[text]
        return rule_contender(text, rule, dict(rule_space(rule).ranges))
    if text in _CLASSES:
        package = _CLASSES[text].partition(":")[0]
        if text in PACKAGE_CLASSES and importlib.util.find_spec(package) is None:
            raise EvooptError(f"{text!r} needs the package {package}: pip install 'evoopt-torch[{package}]'")
        return class_contender(text, find_class(_CLASSES[text]), _CLASSES[text], note="")
    if (path / CONFIG_FILE).is_file():
        with Run(path) as run, read_as_data(str(path)):
            return run_contender(run)
    if path.suffix == ".json":
        return rule_contender(_as_text(path.stem), _read_rule(path))
    file, _, name = text.rpartition(":")
    if text.endswith(".py") or file.endswith(".py"):
        resolved = Path(text if text.endswith(".py") else file).expanduser().resolve()
        cls = find_class(f"{resolved}:{name}" if file.endswith(".py") else str(resolved))
        return class_contender(cls.__name__, cls, f"{resolved}:{cls.__name__}")
    if file and name.isidentifier():
        _importable_from_here()
        return class_contender(name, find_class(text), text)
    if path.is_dir():
        raise EvooptError(f"{text} is not a run folder: it has no {CONFIG_FILE}")
    if path.suffix or len(path.parts) > 1:
        raise EvooptError(
            f"{text} is neither a preset, nor a run folder, nor a file of a rule, a genome or a class"
        )
    raise unknown_name("contender", text, [*PRESETS, *STAGED_PRESETS, *_CLASSES])


def run_contender(run: Run) -> Contender:
    """The winner of a run as a contender.

    Raises:
        EvooptError: The run is not finished.
    """
    tasks = run.config.tasks
    saw_test = frozenset(tasks if run.config.selects_on_test else ())
    name = _as_text(run.folder.resolve().name)
    return rule_contender(name, run.rule, search_tasks=tasks, saw_test=saw_test)


def _as_text(name: str) -> str:
    """The name of a file or folder, whatever its bytes, as tables and pictures can have it."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _read_rule(path: Path) -> UpdateRule:
    data = read_json(path)
    kind = data.get("kind") if isinstance(data, dict) else None
    if kind in ("optimizer_genome", "update_rule"):
        return rule_from_json(data, path)[0]
    raise EvooptError(f"{path} holds neither an update rule nor an optimizer genome (its kind is {kind!r})")


def _importable_from_here() -> None:
    """Let ``module:Class`` name modules of the current folder, as ``python -m`` does."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
