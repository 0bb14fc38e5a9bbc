"""Going back to the last good state of a run whose files were damaged."""

from __future__ import annotations

import itertools
import os
import shutil
from contextlib import closing
from pathlib import Path

from evoopt.errors import EvooptError
from evoopt.runs.database import BACKUP_FILE
from evoopt.runs.lock import RunLock
from evoopt.runs.run import DATABASE_FILE, forget_results, refuse_links
from evoopt.runs.store import RunStore


def restore_backup(folder: str | Path) -> Path:
    """Put the backup of a run's database in place of the database, which is set aside, never deleted.

    What the run did since then is done again when it is resumed, with the same results. Files of results,
    which are the replaced database's, go.

    Returns:
        Where the replaced database lies now.

    Raises:
        EvooptError: There is no backup, or it is damaged too.
        RunLockedError: Another process is writing to the run.
    """
    folder = Path(folder)
    backup, database = folder / BACKUP_FILE, folder / DATABASE_FILE
    if not backup.is_file():
        raise EvooptError(f"{folder} has no {BACKUP_FILE} to go back to")
    refuse_links(folder)
    lock = RunLock(folder)
    try:
        with closing(RunStore(backup, readonly=True)) as store:
            store.check()
        aside = next(
            path for k in itertools.count(1) if not (path := folder / f"run.replaced-{k}.sqlite").exists()
        )
        part = folder / f".{DATABASE_FILE}.part"
        shutil.copyfile(backup, part)
        # The log first: without its database it would be read into the next one of that name.
        for suffix in ("-wal", "-shm", ""):
            file = folder / f"{DATABASE_FILE}{suffix}"
            if file.exists():
                file.rename(f"{aside}{suffix}")
        os.replace(part, database)
        forget_results(folder)
    except OSError as error:
        raise EvooptError(f"cannot restore {backup}: {error.strerror or error}") from None
    finally:
        lock.release()
    return aside
