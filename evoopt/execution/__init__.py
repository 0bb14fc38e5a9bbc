"""Where does the work run? One ordered map over chunks."""

from __future__ import annotations

from evoopt.execution.executor import ChunkResult, Executor, Worker, ordered
from evoopt.execution.place import ExecutorKind, Place, make_executor

__all__ = ["ChunkResult", "Executor", "ExecutorKind", "Place", "Worker", "make_executor", "ordered"]
