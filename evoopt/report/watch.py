"""Following a run: lines in another terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from evoopt.errors import command
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
            yield f"{end}; the whole story: {command('report', folder)}"
            return
        if not written and stopped:
            yield f"stopped: {stopped}"
            return
        if not written:
            yield f"nobody is working on this run; go on with: {command('resume', folder)}"
            return
        time.sleep(every)


def _shown(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else "-"
