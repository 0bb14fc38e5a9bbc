"""Going back to the last good state of a run whose files were damaged."""

from __future__ import annotations

import itertools
import os
import shutil
from contextlib import closing
from pathlib import Path

from evoopt.config import RunConfig, parse_config
from evoopt.errors import EvooptError
from evoopt.runs.database import BACKUP_FILE
from evoopt.runs.experiment import kept_config, refuse_another_type
from evoopt.runs.lock import RunLock
from evoopt.runs.run import CONFIG_FILE, DATABASE_FILE, forget_results, refuse_links, write_file
from evoopt.runs.store import RunStore


def restore_backup(folder: str | Path) -> Path:
    """Put the backup of a run's database in place of the database, which is set aside, never deleted.

    A configuration that is lost or damaged is set aside likewise, for the one that the run began with. What
    the run did since then is done again when it is resumed, with the same results. Files of results, which
    are the replaced database's, go.

    Returns:
        Where the replaced database lies now.

    Raises:
        EvooptError: There is no backup, or it is damaged too.
        RunLockedError: Another process is writing to the run.
    """
    folder = Path(folder)
    backup, database, config = (folder / name for name in (BACKUP_FILE, DATABASE_FILE, CONFIG_FILE))
    if not backup.is_file():
        raise EvooptError(f"{folder} has no {BACKUP_FILE} to go back to")
    refuse_links(folder)
    lock = RunLock(folder)
    try:
        with closing(RunStore(backup, readonly=True)) as store:
            store.check()
            began = kept_config(store, folder)
        usable = began is None or _usable(config, began)
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
        if began is not None and not usable:
            if config.exists():
                config.rename(aside.with_suffix(".toml"))
            write_file(config, began.to_toml())
        forget_results(folder)
    except OSError as error:
        raise EvooptError(f"cannot restore {backup}: {error.strerror or error}") from None
    finally:
        lock.release()
    return aside


def _usable(path: Path, began: RunConfig) -> bool:
    """Whether a configuration can be gone on with, which one beside a backup of another type never is."""
    try:
        text = path.read_text(encoding="utf-8")
        config = parse_config(text, str(path))
    except (EvooptError, OSError, UnicodeDecodeError):
        return False
    if text.strip():
        refuse_another_type(path, config, BACKUP_FILE, began)
    return bool(text.strip())
