"""The types of numbers to compute with, whatever the program around has set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch

from evoopt.execution.executor import Worker, WorkerFactory
from evoopt.execution.place import Precision

_CURRENT: ContextVar[Precision] = ContextVar("precision", default="full")


@contextlib.contextmanager
def computing_in(precision: Precision | None = None) -> Iterator[None]:
    """Compute with a precision inside the context, restoring torch's settings after.

    Args:
        precision: None goes on in that of the context around, which is ``full`` where there is none.
    """
    precision = precision or _CURRENT.get()
    token = _CURRENT.set(precision)
    matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    # Without a device the flag is moot, and torch's own test harness forbids to touch it.
    cuda = torch.cuda.is_available()
    if cuda:
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        with contextlib.ExitStack() as contexts:
            # Torch warns where there is no device to do so on.
            for kind in ("cpu", "cuda") if cuda else ("cpu",):
                # Weights change in place between two steps, so that no copy of them may be kept.
                mixed = torch.autocast(kind, torch.bfloat16, precision == "bf16", cache_enabled=False)
                contexts.enter_context(mixed)
            yield
    finally:
        _CURRENT.reset(token)
        torch.set_float32_matmul_precision(matmul)
        if cuda:
            torch.backends.cudnn.allow_tf32 = convolution


@contextlib.contextmanager
def in_float32() -> Iterator[None]:
    """Make float32 the type of new tensors, as it is in a process of its own; also a decorator."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@dataclass(frozen=True)
class WorkersIn:
    """A factory of the same workers, which compute with a precision."""

    factory: WorkerFactory
    precision: Precision

    def __call__(self, setup: Any) -> Worker:
        """Make one."""
        with computing_in(self.precision):
            worker = self.factory(setup)

        def work(chunk: Any) -> Any:
            with computing_in(self.precision):
                return worker(chunk)

        return work
