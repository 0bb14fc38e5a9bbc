"""Where does the work run? One ordered map over chunks."""

from __future__ import annotations

from evoopt.execution.executor import ChunkResult, Executor, Worker, make_executor, ordered
from evoopt.execution.place import Place

__all__ = ["ChunkResult", "Executor", "Place", "Worker", "make_executor", "ordered"]
