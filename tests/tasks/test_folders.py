from __future__ import annotations

from pathlib import Path

import pytest

from evoopt.errors import EvooptError
from evoopt.tasks import TASKS, DataOptions, load_task_data
from evoopt.tasks.image_folders import DataFiles, data_folders, find_folder

PAIR = DataFiles("pair", ("a.txt", "deep/b.txt"), "https://example.org/pair", ("pair", "other"))
FETCHED = {
    "yeast": "archive.ics.uci.edu/dataset/110",
    "adult": "archive.ics.uci.edu/dataset/2/",
    "adult_raw": "archive.ics.uci.edu/dataset/2/",
    "letter": "archive.ics.uci.edu/dataset/59",
    "orl5": "cam-orl.co.uk",
    "iwslt_vi_en": "nlp.stanford.edu",
    "iwslt_vi_en_full": "nlp.stanford.edu",
    "p3b1": "P3B1_data.tar.gz",
    "p3b1_f1": "P3B1_data.tar.gz",
    "rpv": "NERSC",
}


def fill(folder: Path, *names: str) -> Path:
    for name in names or PAIR.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return folder


def error_of(options: DataOptions) -> str:
    with pytest.raises(EvooptError) as caught:
        find_folder(PAIR, options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("inside", ["", "pair", "other"])
def test_files_may_lie_in_the_data_folder_or_in_one_named_like_the_set(
    inside: str, no_data: Path, tmp_path: Path
) -> None:
    fill(tmp_path / inside)
    assert find_folder(PAIR, DataOptions(tmp_path)) == tmp_path / inside


def test_data_dir_comes_before_the_environment_and_that_before_the_cache(
    no_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, environment = fill(tmp_path / "named"), fill(tmp_path / "env")
    monkeypatch.setenv("EVOOPT_DATA", str(environment))
    assert find_folder(PAIR, DataOptions(named)) == named
    (named / "a.txt").unlink()
    assert find_folder(PAIR, DataOptions(named)) == environment
    monkeypatch.delenv("EVOOPT_DATA")
    cached = fill(no_data / "pair")
    assert find_folder(PAIR, DataOptions()) == cached


def test_missing_files_are_named_with_where_they_were_looked_for_and_where_to_get_them(
    no_data: Path, tmp_path: Path
) -> None:
    message = error_of(DataOptions(tmp_path))
    for part in ("'pair'", str(tmp_path), str(no_data), *PAIR.files, PAIR.source, "a folder pair"):
        assert part in message


def test_incomplete_folder_is_told_apart_from_a_missing_one(no_data: Path, tmp_path: Path) -> None:
    fill(tmp_path / "pair", "a.txt")
    assert f"{tmp_path / 'pair'} lacks deep/b.txt; get the rest from {PAIR.source}" in error_of(
        DataOptions(tmp_path)
    )


def test_long_lists_of_files_are_cut_short(no_data: Path, tmp_path: Path) -> None:
    many = DataFiles("many", tuple(f"{k}.txt" for k in range(20)), "somewhere")
    with pytest.raises(EvooptError, match=r"get 0\.txt, 1\.txt, 2\.txt and 17 more from somewhere"):
        find_folder(many, DataOptions(tmp_path))


@pytest.mark.parametrize("name", FETCHED)
def test_task_without_its_data_says_where_to_get_them(name: str, no_data: Path, tmp_path: Path) -> None:
    with pytest.raises(EvooptError) as caught:
        load_task_data(TASKS[name], DataOptions(tmp_path))
    message = str(caught.value)
    assert message.startswith(f"task {name!r}: data set ")
    assert FETCHED[name] in message
    assert str(tmp_path) in message


def test_a_user_without_home_needs_a_folder_that_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "EVOOPT_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # a number that no name belongs to
    assert data_folders(DataOptions(data_dir=tmp_path)) == [tmp_path]
    with pytest.raises(EvooptError, match="this user has no home folder"):
        data_folders(DataOptions())
