"""Whatever happens to the files of a run is noticed, and the last good state is kept."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.evolution.stages import Stage, State, evolve
from evoopt.runs import Run, database
from evoopt.runs.checkpoints import Checkpoints
from evoopt.runs.finished_chunks import FinishedChunks
from evoopt.runs.restore import restore_backup
from tests.counts import times
from tests.report import runs
from tests.stubs import StubExecutor
from tests.systems.optimizer.test_optimizer_search import config, go

SETTINGS = config(
    search={"population": 6, "generations": 4, "finalists": 2, "final_replicates": 1},
    evaluation={"tasks": ["digits"], "replicates": 1},
)
FILES = ("run.sqlite", "run.sqlite-wal", "run.sqlite-shm")


@pytest.fixture(autouse=True)
def every_backup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BACKUP_SHARE", 1e9)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> str:
    with Run.create(tmp_path_factory.mktemp("whole") / "run", SETTINGS) as run:
        go(run, StubExecutor())
        return run.result_json()


def unfinished(folder: Path) -> Path:
    """A run stopped in mid-generation, as a killed process leaves it: the log is not folded in."""
    with Run.create(folder / "origin", SETTINGS) as run:
        with pytest.raises(KeyboardInterrupt):
            go(run, StubExecutor(stop_at=7))
        shutil.copytree(
            folder / "origin", folder / "run", ignore=shutil.ignore_patterns("run.lock", "run.owner")
        )
    assert (folder / "run" / "run.sqlite-wal").stat().st_size > 0
    return folder / "run"


def stopped(folder: Path, chunks: int = 7) -> Path:
    """The same, stopped in order: one file."""
    with Run.create(folder / "run", SETTINGS) as run, pytest.raises(KeyboardInterrupt):
        go(run, StubExecutor(stop_at=chunks))
    assert not (folder / "run" / "run.sqlite-wal").exists()
    return folder / "run"


def finish(folder: Path) -> str:
    with Run(folder, writable=True) as run:
        go(run, StubExecutor())
        return run.result_json()


def try_damage(pristine: Path, folder: Path, harm: Callable[[Path], None], result: str) -> str:
    """Harm a copy of a run, go on with it, and say how that ended; nothing else than these is allowed."""
    shutil.copytree(pristine, folder)
    harm(folder)
    before = {path.name: path.read_bytes() for path in folder.glob("run*.sqlite*")}
    try:
        outcome = "harmless" if finish(folder) == result else "WRONG RESULT"
    except EvooptError as error:
        assert "is damaged" in str(error), error
        assert f"evoopt resume {folder} --from-backup" in str(error)
        aside = restore_backup(folder)
        assert before["run.sqlite"] != (folder / "run.sqlite").read_bytes()
        assert aside.exists(), "the damaged file is kept"
        assert finish(folder) == result
        outcome = "restored"
    shutil.rmtree(folder)
    return outcome


def flip(name: str, rng: random.Random) -> Callable[[Path], None]:
    """Flip one bit of a file."""

    def harm(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (folder / name).write_bytes(data)

    return harm


def scramble(name: str, rng: random.Random) -> Callable[[Path], None]:
    """Overwrite a stretch of a file with noise."""

    def harm(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        start, length = rng.randrange(len(data)), rng.randrange(1, 2000)
        data[start : start + length] = rng.randbytes(len(data[start : start + length]))
        (folder / name).write_bytes(data)

    return harm


def cut(name: str, rng: random.Random) -> Callable[[Path], None]:
    """Truncate a file."""

    def harm(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: rng.randrange(len(data))])

    return harm


def many(
    make: Callable[[Path], Path], tmp_path: Path, times: int, result: str, files: tuple[str, ...]
) -> None:
    pristine = make(tmp_path)
    rng = random.Random(1)
    outcomes: Counter[str] = Counter()
    for k in range(times):
        kind = (flip, scramble, cut)[k % 3]
        name = files[(k // 3) % len(files)]
        outcomes[try_damage(pristine, tmp_path / f"case-{k}", kind(name, rng), result)] += 1
    print(dict(outcomes))
    assert outcomes["WRONG RESULT"] == 0
    assert outcomes["restored"] > 0


def test_a_damaged_database_never_gives_a_wrong_result(tmp_path: Path, result: str) -> None:
    many(stopped, tmp_path, 30, result, ("run.sqlite",))


def test_a_damaged_log_never_gives_a_wrong_result(tmp_path: Path, result: str) -> None:
    many(unfinished, tmp_path, 30, result, ("run.sqlite-wal",))


@pytest.mark.slow
def test_no_damage_of_many_gives_a_wrong_result(tmp_path: Path, result: str) -> None:
    (tmp_path / "one").mkdir()
    many(stopped, tmp_path / "one", times(700), result, ("run.sqlite",))
    (tmp_path / "two").mkdir()
    many(unfinished, tmp_path / "two", times(300), result, FILES[:2])


def test_a_finished_run_that_is_changed_later_is_noticed_when_it_is_read(tmp_path: Path, result: str) -> None:
    folder = tmp_path / "run"
    with Run.create(folder, SETTINGS) as run:
        go(run, StubExecutor())
    data = (folder / "run.sqlite").read_bytes()
    place = data.index(b'"search_fitness"') + len('"search_fitness": 0.')
    digit = b"1" if data[place : place + 1] != b"1" else b"2"
    (folder / "run.sqlite").write_bytes(data[:place] + digit + data[place + 1 :])
    with Run(folder) as run, pytest.raises(EvooptError, match=r"is damaged.*--from-backup"):
        _ = run.winner


def test_a_database_older_than_its_backup_is_noticed(tmp_path: Path, result: str) -> None:
    folder = stopped(tmp_path, chunks=3)
    old = (folder / "run.sqlite").read_bytes()
    with Run(folder, writable=True) as run, pytest.raises(KeyboardInterrupt):
        go(run, StubExecutor(stop_at=4))
    (folder / "run.sqlite").write_bytes(old)
    with pytest.raises(EvooptError, match=r"has lost generations.*--from-backup"):
        Run(folder, writable=True)
    restore_backup(folder)
    assert finish(folder) == result


def test_damage_in_what_was_long_written_never_reaches_the_backup(tmp_path: Path, result: str) -> None:
    folder = stopped(tmp_path)
    db = sqlite3.connect(folder / "run.sqlite")
    with db:
        db.execute("UPDATE evaluations SET metric = metric + 1e-3 WHERE generation = 0 AND position = 1")
    db.close()
    backup = (folder / "run.backup.sqlite").read_bytes()
    with pytest.raises(EvooptError, match=r"row of table evaluations was changed.*--from-backup"):
        finish(folder)
    assert (folder / "run.backup.sqlite").read_bytes() == backup
    restore_backup(folder)
    assert finish(folder) == result


def test_a_backup_that_is_damaged_too_is_not_restored(tmp_path: Path) -> None:
    folder = stopped(tmp_path)
    for name in ("run.sqlite", "run.backup.sqlite"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
    before = (folder / "run.sqlite").read_bytes()
    with pytest.raises(EvooptError, match=r"run\.backup\.sqlite is damaged.*no other copy"):
        restore_backup(folder)
    assert (folder / "run.sqlite").read_bytes() == before
    (folder / "run.backup.sqlite").unlink()
    with pytest.raises(EvooptError, match=r"no run\.backup\.sqlite"):
        restore_backup(folder)


def test_files_of_results_go_with_the_database_that_they_are_of(tmp_path: Path) -> None:
    folder = stopped(tmp_path)
    files = [folder / name for name in ("result.json", "comparison.json", "model.safetensors")]
    for file in files:
        file.write_text("{}")
    restore_backup(folder)
    assert not any(file.exists() for file in files)


def test_what_is_set_aside_takes_its_log_with_it_and_is_never_overwritten(
    tmp_path: Path, result: str
) -> None:
    folder = unfinished(tmp_path)
    log = (folder / "run.sqlite-wal").read_bytes()
    first = restore_backup(folder)
    assert not (folder / "run.sqlite-wal").exists(), "it would be read into the database restored"
    second = restore_backup(folder)
    assert first != second
    assert first.exists()
    assert second.exists()
    assert Path(f"{first}-wal").read_bytes() == log
    assert finish(folder) == result


def test_a_restoration_that_fails_leaves_the_run_as_it_is(tmp_path: Path) -> None:
    folder = backed_up(tmp_path / "run")
    (folder / ".run.sqlite.part").mkdir()  # in the way of the copy
    before = (folder / "run.sqlite").read_bytes()
    with pytest.raises(EvooptError, match=r"cannot restore .*run\.backup\.sqlite: Is a directory"):
        restore_backup(folder)
    assert (folder / "run.sqlite").read_bytes() == before
    Run(folder, writable=True).close()


@pytest.mark.parametrize("harm", ["missing", "empty", "cut"])
def test_a_lost_configuration_is_restored_from_what_the_run_began_with(
    harm: str, tmp_path: Path, result: str
) -> None:
    folder = stopped(tmp_path)
    path = folder / "config.toml"
    text = path.read_text()
    path.write_text({"missing": "", "empty": "", "cut": text[:-3]}[harm])
    if harm == "missing":
        path.unlink()
    if harm != "cut":
        with pytest.raises(EvooptError, match=r"no readable config\.toml; .* resume .*run --from-backup"):
            Run(folder)
    aside = restore_backup(folder).with_suffix(".toml")
    assert (path.read_text(), aside.exists()) == (text, harm != "missing")
    assert finish(folder) == result
    (folder / "run.sqlite").unlink()
    with pytest.raises(EvooptError, match=r"it has no run\.sqlite; .* resume .*run --from-backup"):
        Run(folder)


def test_files_of_runs_of_two_types_are_no_run(tmp_path: Path) -> None:
    folder = stopped(tmp_path)
    (folder / "config.toml").write_text(runs.CONFIGS["pbt"].to_toml())
    for use in (Run, restore_backup):
        with pytest.raises(EvooptError, match=r"type 'pbt', but run.* beside it of type 'optimizer': put"):
            use(folder)
    assert (folder / "run.sqlite").exists()


def test_a_run_in_use_is_not_restored(tmp_path: Path) -> None:
    folder = stopped(tmp_path)
    with Run(folder, writable=True), pytest.raises(EvooptError, match="in use"):
        restore_backup(folder)


def backed_up(folder: Path) -> Path:
    """A run of two generations in which nothing was trained."""
    with Run.create(folder, SETTINGS) as run:
        for generation in range(2):
            run.store.save_generation({"generation": generation}, {"stages": generation + 1}, [])
    return folder


class Walk:
    """A scheme whose models walk at random; all its state is in tensors and a counter."""

    finished = False

    def __init__(self) -> None:
        self.stage, self.weights = 0, torch.zeros(50)

    def advance(self) -> Stage:
        generator = torch.Generator().manual_seed(self.stage)
        self.weights = self.weights + torch.randn(50, generator=generator)
        self.stage += 1
        self.finished = self.stage == 8
        number = {"generation": self.stage, "best": 0.0, "median": 0.0, "mean": 0.0}
        return Stage(number if self.stage % 2 else None)

    def snapshot(self) -> State:
        return {"stage": self.stage}, {"weights": self.weights}

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self.stage, self.weights = state["stage"], tensors["weights"]


def walk(folder: Path, stages: int = 99) -> Tensor:
    """Go on with a walk for at most so many stages, as a run."""

    def count(stage: Stage) -> None:
        nonlocal stages
        stages -= 1
        if not stages:
            raise KeyboardInterrupt

    scheme = Walk()
    with Run(folder, writable=True) as run:
        evolve(scheme, Checkpoints(run), count)
    return scheme.weights


def walked(folder: Path, stages: int) -> Path:
    with Run.create(folder, SETTINGS):
        pass
    with pytest.raises(KeyboardInterrupt):
        walk(folder, stages)
    return folder


@pytest.mark.parametrize("harm", ["missing", "flipped", "cut"])
def test_lost_weights_are_noticed_and_the_state_before_is_kept(harm: str, tmp_path: Path) -> None:
    expected = walk(_created(tmp_path / "whole"))
    folder = walked(tmp_path / "run", 5)
    newest = max((folder / "weights").iterdir())
    data = newest.read_bytes()
    if harm == "missing":
        newest.unlink()
    else:
        changed = data[:-30] + bytes([data[-30] ^ 1]) + data[-29:] if harm == "flipped" else data[:-9]
        newest.write_bytes(changed)
    with pytest.raises(EvooptError, match=r"weights are lost.*after stage 4.*--from-backup"):
        walk(folder)
    restore_backup(folder)
    assert torch.equal(walk(folder), expected)


@pytest.mark.parametrize("backup", ["the same state", "damaged", "lost"])
def test_lost_weights_without_another_state_are_told_so(backup: str, tmp_path: Path) -> None:
    folder = walked(tmp_path / "run", 3)
    if backup == "the same state":
        restore_backup(folder)
    elif backup == "damaged":
        (folder / "run.backup.sqlite").write_bytes(b"not a database" * 500)
    else:
        (folder / "run.backup.sqlite").unlink()
    for file in (folder / "weights").iterdir():
        file.unlink()
    with pytest.raises(EvooptError, match=r"weights are lost.*no earlier state to go back to"):
        walk(folder)


@pytest.mark.parametrize("harm", ["missing", "flipped"])
def test_a_finished_chunk_whose_tensors_are_harmed_is_done_again(harm: str, tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", SETTINGS) as run:
        chunks: FinishedChunks[str, Tensor] = FinishedChunks(
            run, lambda tensor: ({}, {"w": tensor}), lambda state: state[1]["w"], lambda tensor: ()
        )
        chunks.keep("job", torch.ones(50))
        assert "job" in chunks
        assert torch.equal(chunks["job"], torch.ones(50))
        [file] = (run.folder / "weights").iterdir()
        data = file.read_bytes()
        file.unlink()
        if harm == "flipped":
            file.write_bytes(data[:-30] + bytes([data[-30] ^ 1]) + data[-29:])
        assert "job" not in chunks


def test_only_the_weights_that_can_still_be_needed_are_kept(tmp_path: Path) -> None:
    folder = walked(tmp_path / "run", 5)
    assert sorted(path.name for path in (folder / "weights").iterdir()) == [
        "000004.safetensors",
        "000005.safetensors",
    ]


def test_weights_are_kept_for_a_backup_that_is_older_than_one_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BACKUP_SHARE", 1e-9)  # the first backup is the only one
    expected = walk(_created(tmp_path / "whole"))
    folder = walked(tmp_path / "run", 2)
    with pytest.raises(KeyboardInterrupt):
        walk(folder, 4)  # backs up the state after stage 2 before it finishes the third
    newest = max((folder / "weights").iterdir())
    assert newest.name == "000006.safetensors"
    newest.unlink()
    with pytest.raises(EvooptError, match="after stage 2"):
        walk(folder)
    restore_backup(folder)
    assert torch.equal(walk(folder), expected)


def _created(folder: Path) -> Path:
    with Run.create(folder, SETTINGS):
        pass
    return folder
