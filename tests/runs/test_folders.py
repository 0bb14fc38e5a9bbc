"""Folders that commands name themselves: never shared, never left behind empty."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evoopt.errors import EvooptError
from evoopt.runs import folders
from evoopt.runs.folders import new_folder


@pytest.fixture(autouse=True)
def stopped_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folders.time, "strftime", lambda _: "20261121-120000")


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
        assert len(set(pool.map(kept, range(40)))) == 40


def test_a_command_that_wrote_nothing_leaves_no_folder() -> None:
    with pytest.raises(EvooptError, match="no such task"), new_folder("quick"):
        raise EvooptError("no such task")
    assert not any(Path("runs").iterdir())


def test_a_folder_that_the_user_chose_is_neither_made_nor_removed(tmp_path: Path) -> None:
    chosen = tmp_path / "mine"
    with new_folder("quick", chosen) as folder:
        assert folder == chosen
        assert not folder.exists()
    chosen.mkdir()
    with new_folder("quick", chosen):
        pass
    assert chosen.is_dir()


def test_a_place_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()  # a file where the folder of runs should be
    with pytest.raises(EvooptError, match="cannot write run folder"), new_folder("quick"):
        pass
    assert os.listdir(tmp_path) == ["runs"]
