"""Optimizers that are classes rather than rules: exported files, `torch.optim`, a person's own."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from evoopt.errors import EvooptError
from evoopt.optim.groups import matrix_groups
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


class ClassOptimizer:
    """An optimizer as the training loop takes it: with its schedule, and ready to train.

    Args:
        optimizer: Whatever a class makes.
        spec: Says the schedule.
        total_steps: Length of the training.
    """

    def __init__(self, optimizer: Optimizer, spec: ClassMember, total_steps: int) -> None:
        self.optimizer = optimizer
        self._schedule = None
        if spec.warmup_steps or spec.cosine:
            self._schedule = LambdaLR(
                optimizer, lambda step: schedule_factor(step, total_steps, spec.warmup_steps, spec.cosine)
            )
        if has_modes(type(optimizer)):
            optimizer.train()  # type: ignore[attr-defined]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad()

    def step(self) -> None:
        """Move the weights, and the schedule."""
        self.optimizer.step()
        if self._schedule is not None:
            self._schedule.step()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Hold the weights in the parameters that the optimizer wants to be scored."""
        optimizer: Any = self.optimizer
        if hasattr(optimizer, "averaged"):
            with optimizer.averaged():
                yield
        elif has_modes(type(optimizer)):
            optimizer.eval()
            yield
            optimizer.train()
        else:
            yield


def has_modes(cls: type[Optimizer]) -> bool:
    """Whether a class trains at other weights than it is scored at, as those of Schedule-Free do.

    Its methods ``train`` and ``eval`` go from one to the other; it needs no schedule but a warmup.
    """
    return hasattr(cls, "train") and hasattr(cls, "eval")


def make_class_optimizer(model: nn.Module, spec: ClassMember, total_steps: int) -> ClassOptimizer:
    """Build the optimizer for a model, as `evoopt.training.sequential.train_sequential` asks for it."""
    arguments = dict(spec.arguments)
    if spec.own_schedule:
        arguments["total_steps"] = total_steps
    cls = find_class(spec.source)
    params = matrix_groups(model, cls) if hasattr(cls, "matrix_roles") else model.parameters()
    return ClassOptimizer(cls(params, **arguments), spec, total_steps)


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
