"""Stands in for CUDA graphs on a CPU: what is recorded runs again on the same memory, without its Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from evoopt.training.tapes import Compute, Played


class Recording(Played):
    """Has the interface of `evoopt.training.graphs.Replayed`.

    Attributes:
        replays: How often what was recorded has been replayed.
    """

    def __init__(self, compute: Compute, device: torch.device, pool: Any = None) -> None:
        super().__init__(compute)
        self.replays = 0
        made.append(self)

    def __call__(self, *inputs: Tensor) -> Tensor | None:
        self.replays += self._possible and self._tapes.get(tuple(x.shape for x in inputs)) is not None
        return super().__call__(*inputs)


made: list[Recording] = []


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
