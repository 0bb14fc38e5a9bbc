"""Run folders whose rows have sound checksums and hostile contents."""

from __future__ import annotations

import ast
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from evoopt.errors import read_as_data
from evoopt.export.render import write_export
from evoopt.individuals import individual_type
from evoopt.report import write_report
from evoopt.runs import Run
from evoopt.runs.database import checksum
from evoopt.systems.optimizer.best_rule import best_of
from tests.hostile.strategies import JSON, SCALARS, changed, changed_bytes
from tests.hostile.targets import Target
from tests.stubs import StubExecutor
from tests.systems.optimizer.test_optimizer_search import config, go

SETTINGS = config(
    search={"population": 4, "generations": 3, "elites": 1, "finalists": 2, "final_replicates": 1},
    evaluation={"tasks": ["digits"], "replicates": 1},
)
JSON_COLUMNS = {"meta": 1, "individuals": 5, "generations": 1}
COLUMNS = {"meta": 2, "individuals": 6, "evaluations": 16, "generations": 2}

Change = tuple[str, int, int, Any]
"""Table, number of the row, column, and the new value."""


def _valid(folder: Path, stop_at: int | None) -> Path:
    with Run.create(folder, SETTINGS) as run:
        try:
            go(run, StubExecutor(stop_at=stop_at))
        except KeyboardInterrupt:
            assert stop_at is not None
    for name in ("run.lock", "run.backup.sqlite"):
        (folder / name).unlink(missing_ok=True)
    return folder


def _rows(folder: Path, table: str) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(folder / "run.sqlite")
    try:
        return db.execute(f"SELECT * FROM {table}").fetchall()
    finally:
        db.close()


def _rewrite(folder: Path, table: str, number: int, column: int, value: Any) -> None:
    """Replace a value and make the row's checksum fit."""
    row = list(_rows(folder, table)[number][:-1])
    db = sqlite3.connect(folder / "run.sqlite")
    try:
        with db:
            db.execute("PRAGMA ignore_check_constraints = ON")
            names = [about[1] for about in db.execute(f"PRAGMA table_info({table})")]
            db.execute(f"UPDATE {table} SET {names[column]} = ? WHERE {names[0]} = ?", (value, row[0]))
            for found in db.execute(f"SELECT * FROM {table}").fetchall():
                where = " AND ".join(f"{name} IS ?" for name in names)
                db.execute(f"UPDATE {table} SET checksum = ? WHERE {where}", (checksum(found[:-1]), *found))
    except (sqlite3.Error, OverflowError, UnicodeEncodeError):
        pass  # SQLite itself refuses this one
    finally:
        db.close()


def run_targets(folder: Path) -> dict[str, Target]:
    """Readers of run folders."""
    finished, stopped = _valid(folder / "finished", None), _valid(folder / "stopped", 2)

    def read(change: Change, place: Path) -> None:
        run = place / "run"
        shutil.copytree(finished, run)
        _rewrite(run, *change)
        before = sorted(place.rglob("*"))
        with Run(run) as opened, read_as_data("the run"):
            individual_type(opened.config.individual).text.describe_run(opened)
        with Run(run) as opened, read_as_data("the run"):
            assert opened.rule.key
            best = best_of(opened)
            assert best is not None
            opened.lineage(best["id"])
            opened.result_json()
        assert sorted(place.rglob("*")) == before, "reading changes nothing"
        write_export(run, place / "out.py", "Hostile")
        ast.parse((place / "out.py").read_text())

    def report(change: Change, place: Path) -> None:
        run = place / "run"
        shutil.copytree(finished, run)
        _rewrite(run, *change)
        assert "<script>alert" not in write_report(run).read_text(encoding="utf-8")

    def resume(state: Any, place: Path) -> None:
        run = place / "run"
        shutil.copytree(stopped, run)
        _rewrite(run, "checkpoint", 0, 1, json.dumps(state))
        with Run(run, writable=True) as opened:
            go(opened, StubExecutor())

    def read_config(data: bytes, place: Path) -> None:
        run = place / "run"
        shutil.copytree(finished, run)
        (run / "config.toml").write_bytes(data)
        with Run(run) as opened, read_as_data("the run"):
            individual_type(opened.config.individual).text.describe_run(opened)

    def read_verdict(data: bytes, place: Path) -> None:
        run = place / "run"
        shutil.copytree(finished, run)
        (run / "comparison.json").write_bytes(data)
        with Run(run) as opened:
            assert opened.verdict is None or isinstance(opened.verdict, str)

    state = json.loads(_rows(stopped, "checkpoint")[0][1])
    verdict = json.dumps({"verdict": ["It is better."], "analysis": {}}).encode()
    configuration = changed_bytes((finished / "config.toml").read_bytes())
    return {
        "run folder": Target(_changes(finished), read, 2_000),
        "report": Target(_changes(finished), report, 100),
        "checkpoint": Target(changed(state), resume, 1_000),
        "run's configuration": Target(configuration, read_config, 1_000),
        "verdict": Target(
            st.one_of(changed_bytes(verdict), JSON.map(lambda x: json.dumps(x).encode())), read_verdict, 1_000
        ),
    }


def _changes(folder: Path) -> st.SearchStrategy[Change]:
    wrong = [
        st.tuples(
            st.just(table),
            st.integers(0, len(_rows(folder, table)) - 1),
            st.integers(0, columns - 1),
            SCALARS.filter(lambda x: not isinstance(x, bool)),
        )
        for table, columns in COLUMNS.items()
    ]
    malformed = [
        changed(json.loads(row[column])).map(
            lambda value, place=(table, k, column): (*place, json.dumps(value))
        )
        for table, column in JSON_COLUMNS.items()
        for k, row in enumerate(_rows(folder, table))
        if row[0] != "version"
    ]
    return st.one_of(*wrong, *malformed)
