"""The SQLite file of a run: every evaluation, every individual, every generation, the checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from evoopt.errors import EvooptError
from evoopt.evolution.individual import Individual
from evoopt.jobs.records import Evaluation
from evoopt.runs.database import BACKUP_FILE, Database, Row, kept_beside
from evoopt.training.plan import TrainingResult

STORE_VERSION = 3
STOPPED = "stopped"
"""Names the reason for which a run could not go on, until it does."""
ENDED = "ended"
"""Names the reason for which a run ended before its last generation."""
REOPENED = "reopened"
"""Names that a run which had ended is to go on, until it does."""
LIFTED = "lifted"
"""Names the limits, by their names on the command line, that ended a run which then was to go on."""
BASELINE = "baseline"
"""Names the baseline of a search, tuned before its first generation."""
TUNED_AT_THE_END = f"{BASELINE}-"
"""Begins the names of baselines that are tuned after the last generation."""
BEFORE_THE_FIRST = -1
"""The generation that trainings of the baseline are kept under."""

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE individuals (
    id INTEGER PRIMARY KEY, born INTEGER NOT NULL, key TEXT NOT NULL, operation TEXT NOT NULL,
    parents TEXT NOT NULL, genome TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE evaluations (
    generation INTEGER NOT NULL, chunk INTEGER NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL,
    task TEXT NOT NULL, replicate INTEGER NOT NULL, repeat INTEGER NOT NULL, seed INTEGER NOT NULL,
    engine TEXT NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL, steps INTEGER NOT NULL,
    train_loss REAL, eval_loss REAL, metric REAL, seconds REAL NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (generation, chunk, position)) WITHOUT ROWID;
CREATE INDEX evaluations_by_key ON evaluations (key);
CREATE TABLE generations (generation INTEGER PRIMARY KEY, record TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE checkpoint (
    id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL, checksum INTEGER NOT NULL);
"""
_CHUNKS = """
CREATE TABLE IF NOT EXISTS chunks (key TEXT PRIMARY KEY, result TEXT NOT NULL, checksum INTEGER NOT NULL)
WITHOUT ROWID"""
_CURVES = """
CREATE TABLE IF NOT EXISTS curves (
    generation INTEGER NOT NULL, chunk INTEGER NOT NULL, position INTEGER NOT NULL, curve TEXT NOT NULL,
    checksum INTEGER NOT NULL, PRIMARY KEY (generation, chunk, position)) WITHOUT ROWID"""
_TOLD = ("outcome", "steps", "train_loss", "eval_loss", "metric", "seconds")
_JOB = ("generation", "chunk", "position", "key", "task", "replicate", "repeat", "seed", "engine")


class RunStore:
    """Reads and writes a run's database; every write is one transaction.

    Attributes:
        on_generation: Told of the statistics of every generation, after they have been kept.
        on_evaluation: Told of the numbers of every individual that was trained or scored, likewise.
        states: Folder where unfinished trainings leave their states; None keeps none.

    Args:
        path: The file.
        create: Make a new one; otherwise it must exist.
        readonly: Refuse writes.
        read_genome: Rebuilds a genome from its JSON; by default it stays JSON.

    Raises:
        EvooptError: No such file, not a run's database, a damaged one, or one of another version.
    """

    def __init__(
        self,
        path: Path,
        create: bool = False,
        readonly: bool = False,
        read_genome: Callable[[dict[str, Any]], Any] = dict,
    ) -> None:
        self._path = path
        self._read_genome = read_genome
        self.on_generation: Callable[[dict[str, Any]], None] = lambda record: None
        self.on_evaluation: Callable[[dict[str, Any]], None] = lambda evaluation: None
        self.states: Path | None = None
        if not create and not path.is_file():
            hint = f"; {beside}" if (beside := kept_beside(path)) else ""
            raise EvooptError(f"{path.parent} is not a run folder: it has no {path.name}{hint}")
        self._db = Database(path, create, readonly)
        try:
            if create:
                with self._db.transaction():
                    for statement in _SCHEMA.strip().split(";\n"):
                        self._db.execute(statement)
                    self._db.insert("meta", [("version", str(STORE_VERSION))])
            version = self._db.execute("SELECT value FROM meta WHERE key = 'version'")
            if version != [(str(STORE_VERSION),)]:
                raise EvooptError(
                    f"{path.parent} was written by another version of evoopt (run format "
                    f"{version[0][0] if version else 'unknown'}, this one reads {STORE_VERSION})"
                )
            if not (create or readonly):
                self._refuse_older_than_backup()
            if not readonly:
                for statement in (_CHUNKS, _CURVES):  # runs begun by an earlier version have none
                    self._db.execute(statement)
        except BaseException:
            self._db.close()
            raise

    def _refuse_older_than_backup(self) -> None:
        # A damaged log makes SQLite fall back to what was there before, without a word.
        backup = self._path.with_name(BACKUP_FILE)
        newest = "SELECT COALESCE(MAX(generation), -1) FROM generations"
        kept = None
        if backup.is_file():
            with suppress(EvooptError), closing(Database(backup, readonly=True)) as database:
                kept = database.execute(newest)[0][0]
        if kept is not None and kept > self._db.execute(newest)[0][0]:
            raise self._db.damage("it has lost generations that its backup holds")

    def close(self) -> None:
        """Fold the write-ahead log into the one file and close it."""
        self._db.close()

    def check(self) -> None:
        """Look at everything.

        Raises:
            EvooptError: Something is not what was written.
        """
        self._db.check()

    def select(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a SELECT, for reports that aggregate many evaluations."""
        return self._db.execute(query, parameters)

    def evaluations(self) -> Iterator[Evaluation]:
        """All evaluations by generation, chunk and position."""
        return self._evaluations("ORDER BY generation, chunk, position")

    def evaluations_of(self, keys: Collection[str]) -> Iterator[Evaluation]:
        """Evaluations of some rules, in the order they were made."""
        wanted = "WHERE key IN (SELECT value FROM json_each(?)) ORDER BY generation, chunk, position"
        return self._evaluations(wanted, json.dumps(list(keys)))

    def _evaluations(self, rest: str, *parameters: Any) -> Iterator[Evaluation]:
        curves = self._any("curves")  # asked once, not for each of a large run's rows
        for row in self._db.rows("evaluations", rest, parameters):
            train_loss, eval_loss, metric = (math.nan if x is None else x for x in row[12:15])
            curve = self._curve(row[:3]) if curves else ()
            result = TrainingResult(
                row[9], row[10], row[11], train_loss, eval_loss, metric, row[15], curve=curve
            )
            yield Evaluation(**dict(zip(_JOB, row, strict=False)), result=result)

    def _curve(self, place: Row) -> tuple[float, ...]:
        rows = self._db.rows("curves", "WHERE generation = ? AND chunk = ? AND position = ?", place)
        return next((tuple(self._json(row[3])) for row in rows), ())

    def add_evaluations(self, rows: Sequence[Evaluation]) -> None:
        """Keep the rows of one chunk, all or none."""
        with self._db.transaction():
            self._db.insert("evaluations", map(_evaluation_row, rows))
            curved = (row for row in rows if row.result.curve)
            self._db.insert(
                "curves", ((r.generation, r.chunk, r.position, json.dumps(r.result.curve)) for r in curved)
            )
        for row in rows:
            job = {name: getattr(row, name) for name in ("generation", "key", "task", "replicate", "repeat")}
            result = {name: getattr(row.result, name) for name in _TOLD}
            self.on_evaluation({**job, **result})

    def discard(self, generation: int, task: str) -> None:
        """Forget what a generation's trainings on a task gave."""
        of = "FROM evaluations WHERE generation = ? AND task = ?"
        with self._db.transaction():
            places = f"(generation, chunk, position) IN (SELECT generation, chunk, position {of})"
            self._db.execute(f"DELETE FROM curves WHERE {places}", (generation, task))
            self._db.execute(f"DELETE {of}", (generation, task))

    def rename_tasks(self, names: Mapping[str, str]) -> None:
        """Call tasks otherwise in everything that is kept, but for the generation in progress."""
        with self._db.transaction(durable=True):
            rows = [row for row in self._db.rows("evaluations") if row[4] in names]
            self._db.insert("evaluations", ((*r[:4], names[r[4]], *r[5:]) for r in rows), replace=True)
            for table in ("meta", "generations", "checkpoint"):
                named = [
                    (key, json.dumps(_renamed(self._json(text), names))) for key, text in self._db.rows(table)
                ]
                self._db.insert(table, named, replace=True)

    def has_succeeded(self, task: str) -> bool:
        """Whether any training on a task has ended well so far."""
        query = "SELECT 1 FROM evaluations WHERE task = ? AND outcome = 'ok' LIMIT 1"
        return bool(self._db.execute(query, (task,)))

    def chunk(self, key: str) -> Any:
        """What a finished chunk of the generation in progress gave; None if it is not finished."""
        rows = list(self._db.rows("chunks", "WHERE key = ?", [key]))
        return self._json(rows[0][1]) if rows else None

    def keep_chunk(self, key: str, result: Any) -> None:
        """Keep what a chunk gave until its generation is finished."""
        with self._db.transaction():
            self._db.insert("chunks", [(key, json.dumps(result))], replace=True)

    def forget_chunks(self) -> None:
        """Have the generation in progress done anew."""
        with self._db.transaction():
            self._db.execute("DELETE FROM chunks")

    def forget_unfinished(self, done: int) -> None:
        """Have all that no finished generation rests on done anew: trainings, final and funnel, too.

        Args:
            done: How many generations are finished.
        """
        # Other settings may lay out chunks otherwise, whose rows would be called what those are.
        with self._db.transaction():
            for table in ("curves", "evaluations"):
                self._db.execute(f"DELETE FROM {table} WHERE generation >= ?", (done or BEFORE_THE_FIRST,))
            self._db.execute("DELETE FROM meta WHERE key LIKE ?", (f"{TUNED_AT_THE_END}%",))
            self._db.execute("DELETE FROM chunks")

    @property
    def begun(self) -> bool:
        """Whether anything of the run is done."""
        done = self.checkpoint() is not None or self.meta(BASELINE) is not None
        return done or self._any("chunks") or self._any("evaluations")

    def _any(self, table: str) -> bool:
        # Runs begun by an earlier version do not have every table.
        known = self._db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,))
        return bool(known and self._db.execute(f"SELECT 1 FROM {table} LIMIT 1"))

    def checkpoint(self) -> dict[str, Any] | None:
        """The newest checkpoint, None before the first."""
        return _checkpoint(self._db)

    def backup_checkpoint(self) -> dict[str, Any] | None:
        """The checkpoint of the backup, None if there is no sound one."""
        backup = self._path.with_name(BACKUP_FILE)
        if not backup.is_file():
            return None
        with suppress(EvooptError), closing(Database(backup, readonly=True)) as database:
            return _checkpoint(database)
        return None

    def save_generation(
        self,
        record: dict[str, Any] | None,
        state: dict[str, Any],
        created: Sequence[Individual[Any]],
    ) -> None:
        """Keep a generation's statistics, the individuals created and the new checkpoint, all or none.

        What was there before is backed up first, and `on_generation` is told of what has been kept.
        """
        self._db.back_up()
        with self._db.transaction(durable=True):
            if record is not None:
                self._db.insert("generations", [(record["generation"], json.dumps(record))])
            self._db.insert("individuals", map(_individual_row, created))
            self._db.execute("DELETE FROM meta WHERE key IN (?, ?)", (STOPPED, REOPENED))
            self._db.execute("DELETE FROM chunks")
            self._db.insert("checkpoint", [(1, json.dumps(state))], replace=True)
        if record is not None:
            self.on_generation(record)

    def individual(self, number: int) -> Individual[Any]:
        """One individual, as it was created.

        Raises:
            EvooptError: No such individual.
        """
        individuals = self.individuals([number])
        if not individuals:
            raise EvooptError(f"{self._path.parent} has no individual {number}")
        return individuals[0]

    def individuals(self, numbers: Sequence[int]) -> list[Individual[Any]]:
        """Individuals as they were created, by number; unknown ones are left out."""
        wanted = "WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
        return [
            Individual(
                number, self._read_genome(self._json(genome)), born, tuple(self._json(parents)), operation
            )
            for number, born, _, operation, parents, genome in self._db.rows(
                "individuals", wanted, [json.dumps(numbers)]
            )
        ]

    def ancestors(self, number: int) -> list[int]:
        """Numbers of an individual and all its ancestors, newest first."""
        family = """
            WITH RECURSIVE family (id) AS (
                VALUES (?) UNION
                SELECT value FROM family JOIN individuals USING (id), json_each(individuals.parents))
            SELECT id FROM family ORDER BY id DESC"""
        return [row[0] for row in self._db.execute(family, [number])]

    def generations(self) -> list[dict[str, Any]]:
        """Statistics of every finished generation, in order."""
        return [self._json(record) for _, record in self._db.rows("generations", "ORDER BY generation")]

    def winner(self) -> dict[str, Any] | None:
        """The winner, None while the run is not finished."""
        winner: dict[str, Any] | None = self.meta("winner")
        return winner

    def save_winner(self, winner: dict[str, Any]) -> None:
        """Keep the winner; the run is finished."""
        self.set_meta("winner", winner)

    def reopen(self, done: int, lifted: Sequence[str]) -> dict[str, list[Any]]:
        """Forget the winner, why the run ended, and what was trained for and after its final.

        Args:
            done: How many generations it has.
            lifted: Names of the limits that hold no longer.

        Returns:
            What `put_back` takes.
        """
        kept = {}
        with self._db.transaction(durable=True):
            for table, which in _of_the_end(done).items():
                kept[table] = list(self._db.execute(f"SELECT * FROM {table} WHERE {which}"))
                self._db.execute(f"DELETE FROM {table} WHERE {which}")
            self._db.insert(
                "meta", [(REOPENED, json.dumps(True)), (LIFTED, json.dumps(lifted))], replace=True
            )
        return kept

    def put_back(self, kept: Mapping[str, Sequence[Any]], done: int) -> None:
        """Have a run that was reopened, and did not go on, be finished as before.

        Args:
            kept: What `reopen` returned.
            done: How many generations it has: what was begun after them is forgotten.
        """
        with self._db.transaction(durable=True):
            for table, which in _of_the_end(done).items():
                self._db.execute(f"DELETE FROM {table} WHERE {which}")
                for row in kept[table]:
                    self._db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
            self._db.execute("DELETE FROM chunks")

    def meta(self, key: str) -> Any:
        """A named value, None if it was never set."""
        rows = list(self._db.rows("meta", "WHERE key = ?", [key]))
        return self._json(rows[0][1]) if rows else None

    def set_meta(self, key: str, value: Any) -> None:
        """Set a named value."""
        with self._db.transaction():
            self._db.insert("meta", [(key, json.dumps(value))], replace=True)

    def engines(self) -> dict[str, str]:
        """Training engine chosen per task so far; kept, because engines round differently."""
        return self.meta("engines") or {}

    def save_engines(self, engines: dict[str, str]) -> None:
        """Keep the training engines chosen so far."""
        self.set_meta("engines", engines)

    def outcome_counts(self) -> dict[str, int]:
        """Number of evaluations by outcome."""
        return dict(self._db.execute("SELECT outcome, COUNT(*) FROM evaluations GROUP BY outcome"))

    def _json(self, text: str) -> Any:
        return _json(self._db, text)


def _of_the_end(generation: int) -> dict[str, str]:
    """What a run has of a generation, its final and what follows, and of its end, by table."""
    rows = f"generation >= {generation:d}"
    return {
        "curves": rows,
        "evaluations": rows,
        "meta": f"key IN ('winner', '{ENDED}', '{REOPENED}', '{LIFTED}')",
    }


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """JSON with other names in place of texts and keys that are one of some names."""
    if isinstance(value, Mapping):
        return {names.get(key, key): _renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value


def _json(database: Database, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise database.damage("it holds text that is not JSON") from None


def _checkpoint(database: Database) -> dict[str, Any] | None:
    states = [_json(database, state) for _, state in database.rows("checkpoint")]
    return states[0] if states else None


def _individual_row(ind: Individual[Any]) -> Row:
    genome = json.dumps(ind.genome.to_json())
    return (ind.id, ind.born, ind.genome.key, ind.operation, json.dumps(ind.parents), genome)


def _evaluation_row(row: Evaluation) -> Row:
    result = row.result
    reason = result.reason.encode("utf-8", "replace").decode()
    job = (getattr(row, name) for name in _JOB)
    losses = (_real(x) for x in (result.train_loss, result.eval_loss, result.metric))
    return (*job, result.outcome, reason, result.steps, *losses, _real(result.seconds))


def _real(x: float) -> float | None:
    """As SQLite gives it back: it has neither NaN nor a negative zero."""
    return None if math.isnan(x) else float(x) + 0.0
