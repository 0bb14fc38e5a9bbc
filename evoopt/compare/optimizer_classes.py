"""Optimizers that are classes rather than rules: exported files, `torch.optim`, a person's own."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from evoopt.errors import EvooptError
from evoopt.optim.schedule import schedule_factor
from evoopt.tasks.registry import import_file


@dataclass(frozen=True)
class ClassMember:
    """A class with the arguments for one training; a plain record, so that it can travel to a worker.

    Attributes:
        source: ``module:Class`` or ``path/to/file.py:Class``.
        arguments: Keyword arguments, besides the parameters.
        own_schedule: Whether the class follows a schedule of its own and is told the length of the training.
        warmup_steps: Steps of linear warmup put on top.
        cosine: Whether a cosine is put on top.
    """

    source: str
    arguments: tuple[tuple[str, Any], ...]
    own_schedule: bool = False
    warmup_steps: int = 0
    cosine: bool = False


class _Scheduled:
    """An optimizer and its learning-rate schedule stepped together."""

    def __init__(self, optimizer: Optimizer, spec: ClassMember, total_steps: int) -> None:
        self.optimizer = optimizer
        self._schedule = LambdaLR(
            optimizer, lambda step: schedule_factor(step, total_steps, spec.warmup_steps, spec.cosine)
        )

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def step(self) -> None:
        self.optimizer.step()
        self._schedule.step()


def make_class_optimizer(model: nn.Module, spec: ClassMember, total_steps: int) -> Optimizer | _Scheduled:
    """Build the optimizer for a model, as `evoopt.training.sequential.train_sequential` asks for it."""
    arguments = dict(spec.arguments)
    if spec.own_schedule:
        arguments["total_steps"] = total_steps
    optimizer = find_class(spec.source)(model.parameters(), **arguments)
    if spec.warmup_steps or spec.cosine:
        return _Scheduled(optimizer, spec, total_steps)
    return optimizer


def find_class(source: str) -> type[Optimizer]:
    """Import an optimizer class.

    Args:
        source: ``module:Class``, ``path/to/file.py:Class``, or ``path/to/file.py`` if it defines only one.

    Raises:
        EvooptError: No such file, module or class, or one that is no optimizer.
    """
    origin, _, name = source.rpartition(":")
    if source.endswith(".py"):
        origin, name = source, ""
    if origin.endswith(".py"):
        module = import_file(Path(origin).expanduser(), "evoopt_contender", once=True)
    else:
        try:
            module = importlib.import_module(origin)
        except Exception as error:  # a person's own code
            raise EvooptError(f"cannot import {origin!r} of contender {source!r}: {error}") from error
    if name:
        cls = getattr(module, name, None)
        if not (inspect.isclass(cls) and issubclass(cls, Optimizer)):
            raise EvooptError(f"{origin} defines no torch.optim.Optimizer named {name!r}")
        return cls
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Optimizer) and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        names = ", ".join(value.__name__ for value in classes) or "none"
        raise EvooptError(f"{origin} must define one optimizer class, found {names}; write {origin}:Class")
    return classes[0]


def signature_defaults(cls: type[Optimizer]) -> Mapping[str, Any]:
    """Keyword arguments of a class's constructor with their defaults."""
    parameters = list(inspect.signature(cls).parameters.values())[1:]
    return {p.name: p.default for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
