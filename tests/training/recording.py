"""Stands in for CUDA graphs on a CPU: what is recorded runs again on the same memory, without its Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

Operation = tuple[Any, tuple[Any, ...], dict[str, Any], Any]


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("a recording cannot wait for the device")
        if func is torch.ops.aten.lift_fresh.default:
            raise RuntimeError("a recording cannot read what the CPU makes up")
        result = func(*args, **(kwargs or {}))
        alike = tree_map(_same_memory, (args, kwargs or {}, result))  # apart from how it is differentiated
        self.operations.append((func, *alike))
        return result


def _same_memory(x: Any) -> Any:
    return x.detach() if isinstance(x, Tensor) else x


class Recording:
    """Has the interface of `evoopt.training.graphs.Replayed`.

    Attributes:
        replays: How often each has been replayed.
    """

    def __init__(self, compute: Callable[..., Any], device: torch.device, pool: Any = None) -> None:
        self._compute, self._seen, self.replays = compute, dict[Any, Any](), 0
        made.append(self)

    def __call__(self, *inputs: Tensor) -> Any:
        shapes = tuple(x.shape for x in inputs)
        if shapes not in self._seen:
            self._seen[shapes] = None
            return self._compute(*inputs)
        if self._seen[shapes] is None:
            own = tuple(x.clone() for x in inputs)
            with _Recorder() as recorder:
                result = self._compute(*own)  # a graph is recorded without being run, here it has been
            self._seen[shapes] = own, recorder.operations, result
            return result
        own, operations, result = self._seen[shapes]
        for mine, given in zip(own, inputs, strict=True):
            mine.copy_(given)
        with torch.no_grad():
            for operation in operations:
                _again(*operation)
        self.replays += 1
        return result


made: list[Recording] = []


def _again(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], before: Any) -> None:
    memory = {x.untyped_storage().data_ptr() for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)}
    after = func(*args, **kwargs)
    for old, new in zip(tree_iter(before), tree_iter(after), strict=True):
        if isinstance(old, Tensor) and old.untyped_storage().data_ptr() not in memory:
            old.copy_(new)


KERNELS = (
    "linear", "convolution", "pooling", "dropping", "batch_norm", "cross_entropy", "philox", "update",
    "staged",
)  # fmt: skip


def without_kernels(patch: pytest.MonkeyPatch) -> None:
    """Everything is computed by torch."""
    for name in KERNELS:
        patch.setattr(f"evoopt.training.native.{name}.suits", lambda *_: False)


@contextmanager
def recorded_on_cpu(enabled: bool = True) -> Iterator[list[Recording]]:
    """What a device would record is recorded, if enabled; kernels, which torch does not see, do not run."""
    made.clear()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("lockstep", "staged_group"):
            patch.setattr(f"evoopt.training.{name}.records", lambda device: enabled)
            patch.setattr(f"evoopt.training.{name}.Replayed", Recording)
        patch.setattr("torch.cuda.graph_pool_handle", lambda: None)
        patch.setattr("evoopt.training.lockstep.is_known", lambda loss: False)
        without_kernels(patch)
        yield made
