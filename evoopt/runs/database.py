"""An SQLite file whose rows carry checksums: whatever harms it is noticed, and the last good copy is kept."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from evoopt.errors import EvooptError, command

BACKUP_FILE = "run.backup.sqlite"
BACKUP_SHARE = 0.05
"""Most of the time that may go into backups: one is left out when the one before was too recent."""

Row = tuple[Any, ...]
_log = logging.getLogger(__name__)


def checksum(row: Row) -> int:
    """Of a row's values as the database gives them back."""
    return zlib.crc32(ascii(row).encode())


def kept_beside(path: Path) -> str | None:
    """How to go on where a run's database is no good, or its settings are; None if there is no copy."""
    if path.name == BACKUP_FILE or not path.with_name(BACKUP_FILE).is_file():
        return None
    back = command("resume", path.parent, "--from-backup")
    return f"the last good state is kept beside it, go on from there with: {back}"


class Database:
    """One connection; every write is one transaction.

    Every table's last column is its rows' checksum, written and checked here.

    Args:
        path: The file.
        create: Make a new one; otherwise it must exist.
        readonly: Refuse writes. Only what is read is checked then; a writable one is checked as a whole.

    Raises:
        EvooptError: No such file, not a database, a damaged one.
    """

    def __init__(self, path: Path, create: bool = False, readonly: bool = False) -> None:
        self._path, self._readonly, self._create = path, readonly, create
        self._next_backup = 0.0
        uri = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rwc' if create else 'rw'}"
        with self.errors():
            self._db = sqlite3.connect(uri, uri=True, isolation_level=None)
            if not readonly:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
        if not (create or readonly):
            try:
                self._check_pages()
            except BaseException:
                self._db.close()
                raise

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what SQLite raises into one line that says what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "full" in str(error) or "disk I/O" in str(error):
                if self._create:
                    raise EvooptError(f"cannot write {self._path}: {error}; free some space") from None
                raise EvooptError(
                    f"cannot write {self._path}: {error}; nothing saved so far is lost, "
                    f"free some space and run: {command('resume', self._path.parent)}"
                ) from None
            # A text that is none is told with all of it.
            if "no such" in str(error) or "decode" in str(error):
                raise self.damage(str(error).partition(" with text ")[0]) from None
            raise EvooptError(f"cannot use {self._path}: {error}") from None
        except sqlite3.DatabaseError as error:
            raise self.damage(str(error)) from None

    def damage(self, problem: str) -> EvooptError:
        """The error for a damaged database."""
        advice = kept_beside(self._path) or "there is no other copy of it"
        return EvooptError(f"{self._path} is damaged or not a run's database ({problem}); {advice}")

    @contextmanager
    def transaction(self, durable: bool = False) -> Iterator[None]:
        """Keep everything written inside, all or none.

        Args:
            durable: Whether it must survive a power failure at once; a killed process never harms any.
        """
        with self.errors():
            if durable:
                self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            finally:
                if durable:
                    self._db.execute("PRAGMA synchronous=NORMAL")

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run a statement and return its rows unchecked."""
        with self.errors():
            return self._db.execute(sql, parameters).fetchall()

    def insert(self, table: str, rows: Iterable[Row], replace: bool = False) -> None:
        """Add rows inside a transaction; values must be such as SQLite gives back unchanged."""
        whole = [(*row, checksum(row)) for row in rows]
        if whole:
            places = ",".join("?" * len(whole[0]))
            verb = "REPLACE" if replace else "INSERT"
            self._db.executemany(f"{verb} INTO {table} VALUES ({places})", whole)

    def rows(self, table: str, rest: str = "", parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """Rows of a table, checked.

        Args:
            table: Its name.
            rest: Further clauses.
            parameters: Their parameters.

        Raises:
            EvooptError: A row is not what was written.
        """
        with self.errors():
            for row in self._db.execute(f"SELECT {table}.* FROM {table} {rest}", parameters):
                if row[-1] != checksum(row[:-1]):
                    raise self.damage(f"a row of table {table} was changed")
                yield row[:-1]

    def check(self) -> None:
        """Look at every page and every row.

        Raises:
            EvooptError: Something is not what was written.
        """
        self._check_pages()
        for (table,) in self.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
            for _ in self.rows(table):
                pass

    def back_up(self) -> None:
        """Copy the database in place of the copy before, unless that is too recent.

        Without room for a copy there is a warning and nothing else.

        Raises:
            EvooptError: The database is damaged; the older copy stays.
        """
        begin = time.monotonic()
        if begin < self._next_backup:
            return
        part = self._path.with_name(f".{BACKUP_FILE}.part")
        part.unlink(missing_ok=True)
        try:
            with closing(Database(part, create=True)) as copy:
                self._db.backup(copy._db)
                self._refuse_damaged(copy)
            os.replace(part, self._path.with_name(BACKUP_FILE))
        except (OSError, sqlite3.OperationalError) as error:
            _log.warning("no room for a backup of %s: %s", self._path, error)
        finally:
            for leftover in self._path.parent.glob(f"{part.name}*"):
                leftover.unlink(missing_ok=True)
        now = time.monotonic()
        self._next_backup = now + (now - begin) / BACKUP_SHARE

    def _refuse_damaged(self, copy: Database) -> None:
        try:
            copy.check()
        except EvooptError as error:
            raise self.damage(f"found while backing it up: {error}") from None

    def close(self) -> None:
        """Fold the write-ahead log into the one file and close it."""
        if not self._readonly:
            # Fails while somebody reads; then the log stays beside the file, which is as good.
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("PRAGMA journal_mode=DELETE")
        self._db.close()

    def _check_pages(self) -> None:
        report = self.execute("PRAGMA integrity_check(1)")
        if report != [("ok",)]:
            raise self.damage(str(report[0][0]))
