"""Where work runs: the one record of execution settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evoopt.execution.executor import Executor, ExecutorKind, WorkerFactory, make_executor


@dataclass(frozen=True)
class Place:
    """Where work runs.

    Attributes:
        executor: Kind of executor.
        workers: Processes, one per core by default.
        threads_per_worker: Torch threads per worker.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        data_dir: Where data sets lie.
        timeout_s: Longest time for one chunk in seconds.
        scheduler: Address of a Dask scheduler.
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

    def start(self, factory: WorkerFactory, setup: Any) -> Executor:
        """An executor there; see `make_executor`."""
        return make_executor(
            self.executor, factory, setup, workers=self.workers,
            threads_per_worker=self.threads_per_worker, timeout_s=self.timeout_s,
            scheduler=self.scheduler, device=self.device,
        )  # fmt: skip
