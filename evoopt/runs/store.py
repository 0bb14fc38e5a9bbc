"""The SQLite file of a run: every evaluation, every individual, every generation, the checkpoint."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evoopt.errors import EvooptError
from evoopt.evolution.individual import Individual
from evoopt.evolution.scores import Evaluation
from evoopt.genomes.optimizer import OptimizerGenome
from evoopt.training.plan import TrainingResult

STORE_VERSION = 1

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE individuals (
    id INTEGER PRIMARY KEY, born INTEGER NOT NULL, key TEXT NOT NULL, operation TEXT NOT NULL,
    parents TEXT NOT NULL, genome TEXT NOT NULL);
CREATE TABLE evaluations (
    generation INTEGER NOT NULL, chunk INTEGER NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL,
    task TEXT NOT NULL, replicate INTEGER NOT NULL, repeat INTEGER NOT NULL, seed INTEGER NOT NULL,
    engine TEXT NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL, steps INTEGER NOT NULL,
    train_loss REAL, eval_loss REAL, metric REAL, seconds REAL NOT NULL,
    PRIMARY KEY (generation, chunk, position)) WITHOUT ROWID;
CREATE TABLE generations (generation INTEGER PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE checkpoint (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL);
"""

_PLACE = ("generation", "chunk", "position", "key", "task", "replicate", "repeat", "seed", "engine")
_RESULT = ("outcome", "reason", "steps", "train_loss", "eval_loss", "metric", "seconds")
_COLUMNS = ", ".join((*_PLACE, *_RESULT))


class RunStore:
    """Reads and writes a run's database; every write is one transaction.

    Args:
        path: The file.
        create: Make a new one; otherwise it must exist.
        readonly: Refuse writes.
        read_genome: Rebuilds a genome from its JSON.

    Raises:
        EvooptError: No such file, not a run's database, or one of another version.
    """

    def __init__(
        self,
        path: Path,
        create: bool = False,
        readonly: bool = False,
        read_genome: Callable[[dict[str, Any]], Any] = OptimizerGenome.from_json,
    ) -> None:
        self._path = path
        self._read_genome = read_genome
        self._readonly = readonly
        if not create and not path.is_file():
            raise EvooptError(f"{path.parent} is not a run folder: it has no {path.name}")
        uri = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rwc' if create else 'rw'}"
        with self._errors():
            self._db = sqlite3.connect(uri, uri=True, isolation_level=None)
            if not readonly:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
            if create:
                with self._transaction():
                    for statement in _SCHEMA.strip().split(";\n"):
                        self._db.execute(statement)
                    self._db.execute("INSERT INTO meta VALUES ('version', ?)", (str(STORE_VERSION),))
            found = self._db.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
        if found is None or found[0] != str(STORE_VERSION):
            raise EvooptError(
                f"{path.parent} was written by another version of evoopt (run format {found and found[0]}, "
                f"this one reads {STORE_VERSION})"
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "full" in str(error) or "disk I/O" in str(error):
                raise EvooptError(
                    f"cannot write {self._path}: {error}; nothing saved so far is lost, "
                    f"free some space and run: evoopt resume {self._path.parent}"
                ) from None
            raise EvooptError(f"cannot use {self._path}: {error}") from None
        except sqlite3.DatabaseError as error:
            raise EvooptError(f"{self._path} is damaged or not a run's database: {error}") from None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Fold the write-ahead log into the one file and close it."""
        if not self._readonly:
            # Fails while somebody reads; then the log stays beside the file, which is as good.
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("PRAGMA journal_mode=DELETE")
        self._db.close()

    def select(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a SELECT, for reports that aggregate many evaluations."""
        with self._errors():
            return self._db.execute(query, parameters).fetchall()

    def evaluations(self) -> Iterator[Evaluation]:
        """All evaluations by generation, chunk and position."""
        with self._errors():
            rows = self._db.execute(
                f"SELECT {_COLUMNS} FROM evaluations ORDER BY generation, chunk, position"
            )
            for row in rows:
                train_loss, eval_loss, metric = (math.nan if x is None else x for x in row[12:15])
                result = TrainingResult(row[9], row[10], row[11], train_loss, eval_loss, metric, row[15])
                place = dict(zip(_PLACE, row, strict=False))
                yield Evaluation(**place, result=result)

    def add_evaluations(self, rows: Sequence[Evaluation]) -> None:
        """Keep the rows of one chunk, all or none."""
        values = [
            (
                *(getattr(row, name) for name in _PLACE),
                *(getattr(row.result, name) for name in _RESULT),
            )
            for row in rows
        ]
        with self._transaction():
            self._db.executemany(f"INSERT INTO evaluations VALUES ({','.join('?' * 16)})", values)

    def discard(self, generation: int, task: str) -> None:
        """Forget what a generation's trainings on a task gave."""
        with self._transaction():
            self._db.execute("DELETE FROM evaluations WHERE generation = ? AND task = ?", (generation, task))

    def checkpoint(self) -> dict[str, Any] | None:
        """The newest checkpoint, None before the first."""
        with self._errors():
            row = self._db.execute("SELECT state FROM checkpoint").fetchone()
        return None if row is None else self._json(row[0])

    def save_generation(
        self,
        record: dict[str, Any] | None,
        state: dict[str, Any],
        created: Sequence[Individual[Any]],
    ) -> None:
        """Keep a generation's statistics, the individuals created and the new checkpoint, all or none."""
        with self._transaction():
            if record is not None:
                self._db.execute(
                    "INSERT INTO generations VALUES (?, ?)", (record["generation"], json.dumps(record))
                )
            self._db.executemany(
                "INSERT INTO individuals VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (
                        ind.id, ind.born, ind.genome.key, ind.operation, json.dumps(ind.parents),
                        json.dumps(ind.genome.to_json()),
                    )
                    for ind in created
                ],
            )  # fmt: skip
            self._db.execute("INSERT OR REPLACE INTO checkpoint VALUES (1, ?)", (json.dumps(state),))

    def load_individuals(self, rows: Sequence[dict[str, Any]]) -> list[Individual[Any]]:
        """Rebuild individuals from what `Individual.to_json` wrote."""
        individuals = []
        for row in rows:
            ind = self.individual(row["id"])
            ind.replicates, ind.survivor = row["replicates"], row["survivor"]
            if row["fitness"] is not None:
                ind.fitness.values = tuple(row["fitness"])
            individuals.append(ind)
        return individuals

    def individual(self, number: int) -> Individual[Any]:
        """One individual, as it was created.

        Raises:
            EvooptError: No such individual.
        """
        with self._errors():
            row = self._db.execute(
                "SELECT id, genome, born, parents, operation FROM individuals WHERE id = ?", (number,)
            ).fetchone()
        if row is None:
            raise EvooptError(f"{self._path.parent} has no individual {number}")
        genome = self._read_genome(self._json(row[1]))
        return Individual(row[0], genome, row[2], tuple(self._json(row[3])), row[4])

    def generations(self) -> list[dict[str, Any]]:
        """Statistics of every finished generation, in order."""
        with self._errors():
            rows = self._db.execute("SELECT record FROM generations ORDER BY generation").fetchall()
        return [self._json(row[0]) for row in rows]

    def winner(self) -> dict[str, Any] | None:
        """The winner, None while the run is not finished."""
        winner: dict[str, Any] | None = self.meta("winner")
        return winner

    def save_winner(self, winner: dict[str, Any]) -> None:
        """Keep the winner; the run is finished."""
        self.set_meta("winner", winner)

    def meta(self, key: str) -> Any:
        """A named value, None if it was never set."""
        with self._errors():
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else self._json(row[0])

    def set_meta(self, key: str, value: Any) -> None:
        """Set a named value."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    def engines(self) -> dict[str, str]:
        """Training engine chosen per task so far; kept, because engines round differently."""
        return self.meta("engines") or {}

    def save_engines(self, engines: dict[str, str]) -> None:
        """Keep the training engines chosen so far."""
        self.set_meta("engines", engines)

    def outcome_counts(self) -> dict[str, int]:
        """Number of evaluations by outcome."""
        with self._errors():
            return dict(self._db.execute("SELECT outcome, COUNT(*) FROM evaluations GROUP BY outcome"))

    def _json(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            raise EvooptError(f"{self._path} is damaged: it holds text that is not JSON") from None
