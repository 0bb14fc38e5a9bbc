"""Scalars of every generation for TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evoopt.errors import EvooptError


def scalar_writer(log_dir: Path) -> Callable[[Mapping[str, Any]], None]:
    """What writes the statistics of a generation, given as `evoopt.api.search` gives them to its hook.

    Args:
        log_dir: Folder for TensorBoard's files.

    Raises:
        EvooptError: TensorBoard is not installed, or the folder cannot be written.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise EvooptError(
            "--log-dir needs TensorBoard: pip install tensorboard, or evoopt with its extra 'tensorboard'"
        ) from None
    try:
        writer = SummaryWriter(str(log_dir))
    except OSError as error:
        raise EvooptError(f"cannot write {log_dir}: {error.strerror or error}") from None

    def write(record: Mapping[str, Any]) -> None:
        for name, value in scalars(record):
            writer.add_scalar(name, value, record["generation"])
        writer.flush()

    return write


def scalars(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of a record by name, those of inner tables as ``table/name``; ids are no numbers."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from scalars(value, f"{prefix}{name}/")
        elif (
            isinstance(value, int | float) and name not in ("generation", "best_id") and math.isfinite(value)
        ):
            yield prefix + name, float(value)
