"""Where work runs: the one record of execution settings, and the executor that it asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from evoopt.errors import EvooptError, unknown_name
from evoopt.execution.executor import Executor, WorkerFactory

if TYPE_CHECKING:
    import torch

ExecutorKind = Literal["serial", "process", "dask"]

Precision = Literal["full", "tf32", "bf16"]
"""``full``: the tensors' own dtype; ``tf32``: float32 products with 10-bit mantissas; ``bf16``: mixed
precision, weights and updates stay in float32."""


@dataclass(frozen=True)
class Place:
    """Where work runs.

    Attributes:
        executor: ``"serial"`` runs in this process, ``"process"`` in a pool of spawned processes, ``"dask"``
            on a Dask cluster.
        workers: Number of processes; None means as many as fit the usable cores. Ignored by ``"serial"`` and
            with a scheduler.
        threads_per_worker: Torch threads while a chunk runs. It decides how sums are rounded, so it
            belongs to the config, not to the machine.
        device: What the work computes on, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``; ``"dask"`` gives a chunk
            that computes on CUDA a GPU of its own.
        data_dir: Where data sets lie.
        timeout_s: Longest time for one chunk in seconds, after which its process is killed. ``"serial"``
            cannot enforce it.
        scheduler: Address of a running Dask scheduler for ``"dask"``; None makes a cluster on this machine.
        precision: Of products; ``tf32`` (on CUDA) and ``bf16`` are faster and round more. On a CPU only
            products by torch are in bf16, faster where the processor knows it (AMX, AVX512_BF16).
        exchange: Folder that all machines see, in which living models travel; None for messages.
    """

    executor: ExecutorKind = "process"
    workers: int | None = None
    threads_per_worker: int = 1
    device: str = "cpu"
    data_dir: Path | None = None
    timeout_s: float | None = None
    scheduler: str | None = None
    exchange: Path | None = None
    precision: Precision = "full"

    @property
    def rounding(self) -> dict[str, Any]:
        """What of it decides how results are rounded, as JSON."""
        own = {"device": self.device, "threads": self.threads_per_worker}
        return own if self.precision == "full" else {**own, "precision": self.precision}

    def start(self, factory: WorkerFactory, setup: Any) -> Executor:
        """An executor there; see `make_executor`."""
        # Late, because a configuration is read without torch.
        from evoopt.execution.precision import WorkersIn

        return make_executor(
            self.executor, WorkersIn(factory, self.precision), setup, workers=self.workers,
            threads_per_worker=self.threads_per_worker, timeout_s=self.timeout_s,
            scheduler=self.scheduler, device=self.device,
        )  # fmt: skip


def check_device(device: str | torch.device, precision: Precision = "full") -> str:
    """The name of a device that this machine can compute on.

    Raises:
        EvooptError: One of another kind, one that torch does not see, or a precision that it has not.
    """
    import torch  # late, likewise

    name = str(device)
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise EvooptError(f"device {name!r} is unknown: write cpu, cuda or cuda:N")
    if precision not in get_args(Precision):
        raise unknown_name("precision", precision, get_args(Precision))
    if name == "cpu" and precision == "tf32":
        raise EvooptError("precision 'tf32' needs a CUDA device: add device cuda, or use 'bf16' or 'full'")
    count = torch.cuda.device_count() if name != "cpu" else 0
    if name != "cpu" and int(name.partition(":")[2] or 0) >= count:
        found = f"torch sees {count} CUDA device{'' if count == 1 else 's'}"
        raise EvooptError(f"device {name!r} is not available: {found}; use cpu, or install torch for CUDA")
    return name


def make_executor(
    kind: ExecutorKind,
    factory: WorkerFactory,
    setup: Any,
    *,
    workers: int | None = None,
    threads_per_worker: int = 1,
    timeout_s: float | None = None,
    scheduler: str | None = None,
    device: str = "cpu",
) -> Executor:
    """Make an executor; its workers start with the first chunks.

    Args:
        kind: See `Place.executor`; what follows the setup has its name in `Place`.
        factory: Makes the worker, once per process.
        setup: The factory's argument.

    Raises:
        EvooptError: Unknown kind, a number out of range, a factory or setup that cannot be pickled, or Dask
            that is not installed.
    """
    if kind not in get_args(ExecutorKind):
        raise unknown_name("executor", kind, get_args(ExecutorKind))
    if workers is not None and workers < 1:
        raise EvooptError(f"workers must be at least 1, not {workers}")
    if threads_per_worker < 1:
        raise EvooptError(f"threads_per_worker must be at least 1, not {threads_per_worker}")
    if timeout_s is not None and not 0 < timeout_s < float("inf"):
        raise EvooptError(f"the timeout must be a finite number of seconds above 0, not {timeout_s:g}")
    if kind == "serial":
        from evoopt.execution.serial import SerialExecutor

        return SerialExecutor(factory, setup, threads_per_worker)
    if kind == "dask":
        from evoopt.execution.dask import DaskExecutor

        return DaskExecutor(factory, setup, workers, threads_per_worker, timeout_s, scheduler, device)
    from evoopt.execution.pool import ProcessExecutor

    return ProcessExecutor(factory, setup, workers, threads_per_worker, timeout_s)
