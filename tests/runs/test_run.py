"""Run folders: locking, versions, damage, a full disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from evoopt.errors import EvooptError, RunLockedError
from evoopt.jobs.records import Evaluation
from evoopt.runs import Run
from evoopt.training.plan import TrainingResult
from tests.stubs import StubExecutor
from tests.systems.optimizer.test_optimizer_search import CONFIGS, go


def row(generation: int, chunk: int) -> Evaluation:
    result = TrainingResult.unsuccessful("failed", "x" * 4000)
    return Evaluation(generation, chunk, 0, "k", "digits", 0, 0, 1, "sequential", result)


def fill(run: Run) -> None:
    for k in range(1000):
        run.store.add_evaluations([row(99, k)])


def test_config_is_kept_as_resolved(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", CONFIGS["robust"]):
        pass
    with Run(tmp_path / "run") as run:
        assert run.config == CONFIGS["robust"]


def test_a_second_writer_is_refused_and_the_lock_is_given_back(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", CONFIGS["robust"]):
        with pytest.raises(RunLockedError, match=r"in use by process \d+"):
            Run(tmp_path / "run", writable=True)
        with Run(tmp_path / "run") as reader:
            assert reader.generations == []
    with Run(tmp_path / "run", writable=True):
        pass


def test_a_folder_with_something_in_it_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(EvooptError, match="not empty"):
        Run.create(tmp_path, CONFIGS["robust"])
    assert (tmp_path / "precious.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"], "not even a lock is left there"


def test_what_is_no_run_folder_is_said_so(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(EvooptError, match="is not a run folder"):
            Run(folder)


def test_another_version_is_refused(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", CONFIGS["robust"]):
        pass
    db = sqlite3.connect(tmp_path / "run" / "run.sqlite")
    with db:
        db.execute("UPDATE meta SET value = '99' WHERE key = 'version'")
    db.close()
    with pytest.raises(EvooptError, match="another version"):
        Run(tmp_path / "run")


@pytest.mark.parametrize("damage", [b"", b"not a database" * 500])
def test_a_damaged_database_is_said_so(tmp_path: Path, damage: bytes) -> None:
    with Run.create(tmp_path / "run", CONFIGS["robust"]):
        pass
    (tmp_path / "run" / "run.sqlite").write_bytes(damage)
    for name in ("run.sqlite-wal", "run.sqlite-shm"):
        (tmp_path / "run" / name).unlink(missing_ok=True)
    with pytest.raises(EvooptError):
        Run(tmp_path / "run")


def test_a_full_disk_keeps_the_last_checkpoint_readable(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", CONFIGS["robust"]) as run, pytest.raises(KeyboardInterrupt):
        go(run, StubExecutor(stop_at=20))
    with Run(tmp_path / "run", writable=True) as run:
        before = run.store.checkpoint()
        pages = run.store.select("PRAGMA page_count")[0][0]
        run.store.select(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(EvooptError, match=r"disk is full.*evoopt resume"):
            fill(run)
        assert run.store.checkpoint() == before
    with Run(tmp_path / "run") as run:
        assert run.store.checkpoint() == before


def test_rows_of_a_chunk_are_kept_all_or_none(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", CONFIGS["robust"]) as run:
        run.store.add_evaluations([row(0, 0)])
        with pytest.raises(EvooptError):
            run.store.add_evaluations([row(0, 1), row(0, 0)])
        assert [r.chunk for r in run.store.evaluations()] == [0]


def test_a_finished_run_is_one_file_that_opens_without_write_access(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", CONFIGS["noise"]) as run:
        go(run, StubExecutor())
    files = {file.name for file in (tmp_path / "run").iterdir()}
    assert not {name for name in files if name.startswith("run.sqlite-")}
    with Run(tmp_path / "run") as run:
        assert run.finished
    assert {file.name for file in (tmp_path / "run").iterdir()} == files
