"""Run folders: locking, versions, damage, a full disk."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from filelock import FileLock

from evoopt.errors import EvooptError, NoScoreError, RunLockedError
from evoopt.jobs.records import Evaluation
from evoopt.runs import Run, lock
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
    with pytest.raises(EvooptError, match=r"run\.sqlite is damaged .*no other copy"):
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
        with pytest.raises(EvooptError, match="UNIQUE"):
            run.store.add_evaluations([row(0, 1), row(0, 0)])
        assert [r.chunk for r in run.store.evaluations()] == [0]


def test_what_a_database_cannot_hold_is_read_back_as_the_nearest_that_it_can(tmp_path: Path) -> None:
    failed = TrainingResult("failed", "lone \udcff", 3, math.nan, -0.0, -0.0, -0.0)
    with Run.create(tmp_path / "run", CONFIGS["robust"]) as run:
        run.store.add_evaluations([replace(row(0, 0), result=failed)])
        [found] = (r.result for r in run.store.evaluations())
        assert (found.reason, found.steps) == ("lone ?", 3)
        assert math.isnan(found.train_loss)
        assert [str(x) for x in (found.eval_loss, found.metric, found.seconds)] == ["0.0"] * 3
        run.store.check()


def test_only_a_training_that_ended_well_counts_as_a_success_on_its_task(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", CONFIGS["robust"]) as run:
        run.store.add_evaluations([row(0, 0)])
        assert not run.store.has_succeeded("digits")
        run.store.add_evaluations([replace(row(0, 1), result=replace(row(0, 1).result, outcome="ok"))])
        assert run.store.has_succeeded("digits")
        assert not run.store.has_succeeded("wine")


def test_a_run_of_an_earlier_version_has_fewer_tables(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", CONFIGS["robust"]) as run:
        for table in ("chunks", "curves"):
            run.store.select(f"DROP TABLE {table}")
    with Run(tmp_path / "run") as run:
        assert not run.store.begun
        assert list(run.store.evaluations()) == []
    with Run(tmp_path / "run", writable=True) as run:
        curve = (2.0, 1.0)
        run.store.add_evaluations([replace(row(0, 0), result=replace(row(0, 0).result, curve=curve))])
        assert [r.result.curve for r in run.store.evaluations()] == [curve]


def test_a_run_without_any_score_forgets_the_chunks_of_the_generation_that_had_none(tmp_path: Path) -> None:
    def begin() -> None:
        with Run.create(tmp_path / "run", CONFIGS["robust"]) as run:
            run.store.keep_chunk("k", [1])
            assert run.store.begun
            raise NoScoreError("all have diverged")

    with pytest.raises(NoScoreError, match="all have diverged"):
        begin()
    with Run(tmp_path / "run") as run:
        assert run.stopped == "all have diverged"
        assert not run.store.begun


@pytest.mark.parametrize("text", ['{"verdict": "better"}', '{"protocol": 1}', "[]", "{", None])
def test_a_comparison_without_a_verdict_has_none(text: str | None, tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", CONFIGS["robust"]) as run:
        if text is not None:
            (run.folder / "comparison.json").write_text(text)
        assert (run.verdict, run.tuned) == (None, None)
        run.write_verdict("it was not compared")
        assert run.verdict == "it was not compared"


def test_a_folder_that_may_only_be_read_counts_as_in_use_and_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / "run.owner").touch()
    with patch.object(FileLock, "acquire", side_effect=PermissionError(13, "Permission denied")):
        assert lock.is_in_use(tmp_path)
        with pytest.raises(EvooptError, match=r"cannot write to .*: Permission denied"):
            lock.RunLock(tmp_path)


def test_a_finished_run_is_one_file_that_opens_without_write_access(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", CONFIGS["noise"]) as run:
        go(run, StubExecutor())
    files = {file.name for file in (tmp_path / "run").iterdir()}
    assert not {name for name in files if name.startswith("run.sqlite-")}
    with Run(tmp_path / "run") as run:
        assert run.finished
    assert {file.name for file in (tmp_path / "run").iterdir()} == files
