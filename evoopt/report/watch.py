"""Following a run: lines in another terminal, scalars for TensorBoard."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evoopt.errors import EvooptError
from evoopt.report.common import planned_generations
from evoopt.report.writing import sections_of
from evoopt.runs.lock import is_in_use
from evoopt.runs.run import Run


def follow(folder: str | Path, every: float = 1.0) -> Iterator[str]:
    """Lines about a run: one per finished generation, and one when it ends.

    The database is opened for reading at every look and closed again, so the run is not disturbed.

    Args:
        folder: The run folder.
        every: Seconds between two looks.

    Raises:
        EvooptError: Not a run folder.
    """
    told = 0
    while True:
        # Asked first: whoever lets go of the run in between has left its last words in the database.
        written = is_in_use(Path(folder))
        with Run(folder) as run:
            columns, planned = sections_of(run).GENERATION, planned_generations(run)
            records = run.generations
            finished, stopped = run.finished and not (written and run.uncompared), run.stopped
            end = "finished but for its closing comparison" if run.uncompared else "finished"
        for record in records[told:]:
            figures = (f"{c.label} {_shown(c.of(record), c.format)}" for c in columns)
            yield f"generation {record['generation']}, of {planned}  {'  '.join(figures)}"
        told = len(records)
        if finished:
            yield f"{end}; the whole story: evoopt report {folder}"
            return
        if not written and stopped:
            yield f"stopped: {stopped}"
            return
        if not written:
            yield f"nobody is working on this run; go on with: evoopt resume {folder}"
            return
        time.sleep(every)


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


def _shown(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else "-"
