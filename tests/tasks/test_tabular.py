from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evoopt.errors import EvooptError
from evoopt.tasks import DataOptions, TaskData, tabular
from evoopt.tasks.image_folders import DataFiles
from evoopt.tasks.tables import codes, numbers, read_columns, split_table
from evoopt.tasks.tabular import ADULT, LETTER, YEAST, load_adult, load_adult_raw, load_letter, load_yeast
from tests.tasks.synthetic import adult_row

SIZES = {
    load_yeast: (1_038, 446, 8, YEAST),
    load_adult: (32_561, 16_281, 108, ADULT),
    load_adult_raw: (32_561, 16_281, 14, ADULT),
    load_letter: (16_000, 4_000, 16, LETTER),
}
GOLDEN_YEAST = [1294, 1470, 513, 1239, 1130, 1135, 761, 494]
NUMBERS = [0, 10, 27, 63, 64, 65]
MISSING = {"workclass": 1, "occupation": 35, "native_country": 66}


def adult_part(folder: Path, *rows: str, one_hot: bool = True) -> tuple[np.ndarray, np.ndarray]:
    path = folder / "adult.data"
    path.write_text("\n".join(rows))
    return tabular._adult_part(path, len(rows), one_hot)


# --- the data sets


def check_sizes(load: Callable[[DataOptions], TaskData], folder: Path) -> TaskData:
    train, test, features, _ = SIZES[load]
    data = load(DataOptions(data_dir=folder, unseal_test=True))
    assert len(data.train) + len(data.validation) == train
    for part in (data.train, data.validation, data.test.open()):
        assert part.x.shape[1:] == (features,)
        assert (part.x.dtype, part.y.dtype) == (torch.float32, torch.int64)
    assert len(data.test) == test
    return data


@pytest.mark.parametrize("load", SIZES)
def test_sizes_are_the_published_ones(load: Any, synthetic_data: Path) -> None:
    check_sizes(load, synthetic_data)


@pytest.mark.data
@pytest.mark.parametrize("load", SIZES)
def test_original_files_are_read(load: Any, original: Callable[[DataFiles], Path]) -> None:
    data = check_sizes(load, original(SIZES[load][3]))
    assert data.train.y.unique().tolist() == data.test.open().y.unique().tolist()
    classes, majority = {
        load_yeast: (10, 0.312),
        load_adult: (2, 0.764),
        load_adult_raw: (2, 0.764),
        load_letter: (26, 0.042),
    }[load]
    counts = data.test.open().y.bincount()
    assert len(counts) == classes
    assert (counts.max() / counts.sum()).item() == pytest.approx(majority, abs=1e-3)


@pytest.mark.data
def test_original_adult_lacks_values_in_three_attributes(original: Callable[[DataFiles], Path]) -> None:
    x, _ = tabular._adult_part(original(ADULT) / "adult.data", 32_561, one_hot=True)
    assert x[:, list(MISSING.values())].sum(axis=0).tolist() == [1_836, 1_843, 583]


def test_yeast_is_divided_as_by_gcforest_whatever_the_seed(
    synthetic_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    monkeypatch.setattr(tabular, "split_table", lambda *arguments: seen.append(arguments[2]))
    for seed in (0, 1):
        load_yeast(DataOptions(data_dir=synthetic_data, seed=seed))
    assert np.array_equal(seen[0], seen[1])
    path = synthetic_data / "yeast.data"
    rows = [tuple(map(float, line.split()[1:9])) for line in path.read_text().splitlines()]
    assert [rows.index(tuple(x)) for x in seen[0][:8]] == GOLDEN_YEAST


def test_letters_of_the_last_4000_rows_are_the_test_part(synthetic_data: Path) -> None:
    test = load_letter(DataOptions(data_dir=synthetic_data, unseal_test=True)).test.open()
    assert test.y.tolist() == [k % 26 for k in range(16_000, 20_000)]


# --- ADULT


def test_every_attribute_has_exactly_one_category(tmp_path: Path) -> None:
    x, _ = adult_part(tmp_path, adult_row(), adult_row(sex="Female", race="Other"))
    assert x.shape == (2, 108)
    assert x[:, NUMBERS].tolist() == [[39, 77516, 13, 2174, 0, 40]] * 2
    categories = np.delete(x, NUMBERS, axis=1)
    assert set(categories.flatten()) == {0, 1}
    assert categories.sum(axis=1).tolist() == [8, 8]
    assert (x[0] != x[1]).sum() == 4


@pytest.mark.parametrize(("attribute", "column"), MISSING.items())
def test_missing_value_is_a_category_of_its_own(attribute: str, column: int, tmp_path: Path) -> None:
    x, _ = adult_part(tmp_path, adult_row(**{attribute: "?"}), adult_row())
    assert x[:, column].tolist() == [1, 0]
    raw, _ = adult_part(tmp_path, adult_row(**{attribute: "?"}), adult_row(), one_hot=False)
    assert (raw == 0).sum(axis=1).tolist() == [4, 3]


def test_incomes_of_the_test_file_end_with_a_full_stop_and_its_first_line_is_a_comment(
    tmp_path: Path, synthetic_data: Path
) -> None:
    rows = [adult_row(dot, income=income) for dot in ("", ".") for income in ("<=50K", ">50K")]
    _, y = adult_part(tmp_path, *rows)
    assert y.tolist() == [0, 1, 0, 1]
    assert (synthetic_data / "adult.test").read_text().startswith("|")
    test = load_adult(DataOptions(data_dir=synthetic_data, unseal_test=True)).test.open()
    assert test.y[:5].tolist() == [1, 0, 0, 0, 1]


def test_only_numbers_are_normalised_in_the_one_hot_form(synthetic_data: Path) -> None:
    options = DataOptions(data_dir=synthetic_data, validation_fraction=0.0)
    one_hot, raw = load_adult(options).train.x, load_adult_raw(options).train.x
    categories = [column for column in range(108) if column not in NUMBERS]
    assert one_hot[:, categories].unique().tolist() == [0, 1]
    torch.testing.assert_close(one_hot[:, 0], raw[:, 0])
    varying = raw.std(dim=0) > 0
    assert varying[[0, 1]].all()
    torch.testing.assert_close(raw[:, varying].std(dim=0, correction=0), torch.ones(int(varying.sum())))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workclass": "Pirate"}, "unknown value 'Pirate', known are"),
        ({"sex": "?"}, "unknown value '\\?', known are Female, Male"),
        ({"age": "?"}, "could not convert string to float: '\\?'"),
        ({"income": "50K"}, "unknown value '50K'"),
        ({"race": "White, Black"}, "line 2: 16 values instead of 15"),
    ],
)
def test_damaged_row_is_refused_with_the_value(changes: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(EvooptError, match=f"adult.data.*{message}"):
        adult_part(tmp_path, adult_row(), adult_row(**changes))


# --- tables


def test_truncated_file_is_refused(no_data: Path, tmp_path: Path) -> None:
    (tmp_path / "yeast.data").write_text("P  0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8  CYT\n" * 1_000)
    with pytest.raises(EvooptError, match=r"yeast.data has 1,000 rows instead of 1,484"):
        load_yeast(DataOptions(tmp_path))


def test_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_bytes(b"\xff\xfe1,2")
    with pytest.raises(EvooptError, match=f"cannot read {path}"):
        read_columns(path, 2, 1)


def test_columns_are_read_without_spaces_empty_lines_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_text("|note\n 1, a \r\n\n2,b\n\n")
    first, second = read_columns(path, 2, 2)
    assert numbers(path, first).tolist() == [1, 2]
    assert codes(path, second, "ba").tolist() == [1, 0]


def test_normalisation_is_that_of_the_training_part_alone() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(5, 3, (60, 4)), np.arange(60) % 2
    x[:, 2] = 7
    scaled = np.array([True, True, True, False])
    data = split_table(x, y, 100 + x, y, DataOptions(unseal_test=True), scaled)
    torch.testing.assert_close(data.train.x[:, :2].mean(dim=0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(data.train.x[:, :2].std(dim=0, correction=0), torch.ones(2))
    assert not data.train.x[:, 2].any()
    assert set(data.train.x[:, 3].tolist()) <= set(x[:, 3].astype(np.float32).tolist())
    assert data.validation.x[:, 0].mean().abs() > 1e-3
    assert data.test.open().x[:, 0].min() > 20
