"""Folders that commands name themselves: never shared, never left behind empty."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import pytest

import evoopt
from evoopt.errors import EvooptError
from evoopt.runs import Run, folders, lock
from evoopt.runs import run as run_module
from evoopt.runs.folders import new_folder
from evoopt.systems.optimizer.config import OptimizerConfig

SHORT = OptimizerConfig().override(
    {
        "evaluation": {"fitness": "noise"},
        "search": {"generations": 1, "compare": False},
        "execution": {"executor": "serial"},
    }
)


@pytest.fixture(autouse=True)
def stopped_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folders.time, "strftime", lambda _: "20261121-120000")


def failed() -> None:
    with pytest.raises(EvooptError, match="no such task"), new_folder("quick"):
        raise EvooptError("no such task")


def kept(_: int) -> Path:
    with new_folder("quick") as folder:
        (folder / "config.toml").touch()
        return folder


def test_runs_that_start_in_one_second_get_a_folder_each() -> None:
    assert [kept(0).name for _ in range(3)] == [
        "quick-20261121-120000",
        "quick-20261121-120000-2",
        "quick-20261121-120000-3",
    ]


def test_even_when_they_start_at_once() -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            pool.submit(failed)
        assert len(set(pool.map(kept, range(40)))) == 40


def test_a_command_that_wrote_nothing_leaves_no_folder(tmp_path: Path) -> None:
    failed()
    assert not any(tmp_path.iterdir())
    Path("runs").mkdir()
    failed()
    assert os.listdir("runs") == []


def test_a_folder_that_the_user_chose_is_neither_made_nor_removed(tmp_path: Path) -> None:
    chosen = tmp_path / "mine"
    with new_folder("quick", chosen) as folder:
        assert folder == chosen
        assert not folder.exists()
    chosen.mkdir()
    with new_folder("quick", chosen):
        pass
    assert chosen.is_dir()


@pytest.mark.parametrize("there", ["a file", "a link that leads nowhere"])
def test_a_place_that_cannot_be_written_is_an_error_of_one_line(there: str, tmp_path: Path) -> None:
    if there == "a file":
        (tmp_path / "runs").touch()
    else:
        (tmp_path / "runs").symlink_to(tmp_path / "unmounted")
    with pytest.raises(EvooptError, match="cannot write run folder") as caught, new_folder("quick"):
        pass
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["runs"]


def test_a_run_that_never_began_does_not_stand_in_the_way(tmp_path: Path) -> None:
    where = {"execution": {"executor": "serial", "data_dir": str(tmp_path / "empty")}}
    with pytest.raises(EvooptError, match="yeast"):
        evoopt.search("gadam-yeast", out=tmp_path / "run", overrides=where)
    with evoopt.search(SHORT, out=tmp_path / "run") as run:
        assert run.finished


@pytest.mark.parametrize("lost", [("result.json",), ("result.json", "config.toml")])
def test_a_run_with_anything_done_is_never_cleared(lost: tuple[str, ...], tmp_path: Path) -> None:
    evoopt.search(SHORT, out=tmp_path / "run").close()
    for name in lost:
        (tmp_path / "run" / name).unlink()
    left = {name: (tmp_path / "run" / name).read_bytes() for name in {"run.sqlite", "config.toml"} - {*lost}}
    with pytest.raises(EvooptError, match="is not empty"):
        evoopt.search(SHORT, out=tmp_path / "run")
    assert {name: (tmp_path / "run" / name).read_bytes() for name in left} == left


def test_a_run_that_another_process_begins_is_not_cleared(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", SHORT), pytest.raises(EvooptError, match="in use"):
        evoopt.search(SHORT, out=tmp_path / "run")
    assert (tmp_path / "run" / "config.toml").exists()


def test_other_files_are_never_removed(tmp_path: Path) -> None:
    Run.create(tmp_path / "run", SHORT).close()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(EvooptError, match="is not empty"):
        evoopt.search(SHORT, out=tmp_path / "run")
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_run_whose_making_failed_or_was_killed_does_not_stand_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as changes:
        changes.setattr(run_module, "write_file", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            Run.create(folder, SHORT)
    assert {path.name for path in folder.iterdir()} <= {"run.lock"}
    Run.create(folder, SHORT).close()
    (folder / "config.toml").rename(folder / ".config.toml.7.part")  # as a kill between two files leaves it
    with evoopt.search(SHORT, out=folder) as run:
        assert run.finished


def test_two_who_write_one_file_at_once_each_write_it_whole(tmp_path: Path) -> None:
    path, texts = tmp_path / "report.html", ["a" * 100_000, "b" * 100_000]

    def write(text: str) -> None:
        for _ in range(30):
            run_module.write_file(path, text)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, texts))
    assert path.read_text() in texts
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == [path.name]


def test_restarts_go_on_only_with_the_same_settings(tmp_path: Path) -> None:
    evoopt.search(SHORT, out=tmp_path / f"seed-{SHORT.seed}").close()
    other = SHORT.with_options({"population": SHORT.search.population + 1})
    with pytest.raises(EvooptError, match=r"has other settings \(search.population"):
        evoopt.search_restarts(other, 1, out=tmp_path)


def test_a_lock_that_is_a_link_is_not_opened(tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("kept")
    (tmp_path / "run.lock").symlink_to(victim)
    (tmp_path / "run.owner").touch()
    with patch.object(lock, "FileLock", side_effect=AssertionError("opened")):
        assert lock.is_in_use(tmp_path)
