"""Where does the work run? One ordered map over chunks."""

from __future__ import annotations

from evoopt.execution.executor import ChunkResult, Executor, Worker, ordered
from evoopt.execution.place import ExecutorKind, Place, check_device, make_executor

__all__ = [
    "ChunkResult",
    "Executor",
    "ExecutorKind",
    "Place",
    "Worker",
    "check_device",
    "make_executor",
    "ordered",
]
