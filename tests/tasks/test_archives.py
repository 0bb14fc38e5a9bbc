from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from evoopt.errors import EvooptError
from evoopt.tasks.datasets import _IMAGE_SETS
from evoopt.tasks.files import ARRAYS, ImageFiles, read_images
from evoopt.tasks.task import DataOptions
from tests.tasks.conftest import Payload, assert_same, error_of, random_arrays

MNIST = _IMAGE_SETS["mnist"][0]
TINY = ImageFiles("tiny", "MNIST", "Tiny/raw", ("a",), (2, 2))


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1)])
def test_archive_of_grey_images_with_or_without_channel_is_read(
    shape: tuple[int, ...], no_data: Path, tmp_path: Path
) -> None:
    arrays = random_arrays(shape)
    np.savez_compressed(tmp_path / "mnist.npz", **arrays)
    assert_same(read_images(MNIST, DataOptions(data_dir=tmp_path)), arrays)


BAD_ARRAYS = {
    "float images": ("x_train", np.zeros((60, 2, 2), np.float32), "x_train has dtype float32"),
    "wrong size": (
        "x_test",
        np.zeros((20, 3, 2), np.uint8),
        r"x_test has shape (20, 3, 2); expected (n, 2, 2)",
    ),
    "channels": ("x_test", np.zeros((20, 2, 2, 3), np.uint8), "x_test has shape (20, 2, 2, 3)"),
    "flat images": ("x_train", np.zeros((60, 4), np.uint8), "x_train has shape (60, 4)"),
    "no axis": ("x_train", np.zeros((), np.uint8), "x_train has shape ()"),
    "fewer images": ("x_train", np.zeros((59, 2, 2), np.uint8), "x_train has 59 images but y_train has 60"),
    "no images": ("x_test", np.zeros((0, 2, 2), np.uint8), "x_test has 0 images but y_test has 20"),
    "float labels": ("y_train", np.zeros(60), "y_train has dtype float64; expected integer"),
    "true or false": ("y_train", np.zeros(60, bool), "y_train has dtype bool"),
    "one-hot labels": ("y_test", np.zeros((20, 10), np.int64), "y_test has shape (20, 10)"),
    "negative label": ("y_test", np.full(20, -1), "y_test holds labels -1 to -1; expected 0 to 9"),
    "label too large": ("y_train", np.arange(60), "y_train holds labels 0 to 59; expected 0 to 9"),
    "objects": ("y_test", np.array([{}] * 20, dtype=object), "array y_test"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_wrong_array_names_file_and_array(case: str, no_data: Path, tmp_path: Path) -> None:
    name, array, expected = BAD_ARRAYS[case]
    path = tmp_path / "tiny.npz"
    np.savez(path, **{**random_arrays((2, 2)), name: array})
    message = error_of(TINY, tmp_path)
    assert str(path) in message
    assert expected in message


def test_archive_with_empty_parts_is_refused(no_data: Path, tmp_path: Path) -> None:
    arrays = {
        **random_arrays((2, 2)),
        "x_test": np.zeros((0, 2, 2), np.uint8),
        "y_test": np.zeros(0, np.uint8),
    }
    np.savez(tmp_path / "tiny.npz", **arrays)
    assert "x_test is empty" in error_of(TINY, tmp_path)


@pytest.mark.parametrize("name", ARRAYS)
def test_archive_that_lacks_an_array_names_it_and_what_there_is(
    name: str, no_data: Path, tmp_path: Path
) -> None:
    arrays = random_arrays((2, 2))
    arrays["images"] = arrays.pop(name)
    np.savez(tmp_path / "tiny.npz", **arrays)
    message = error_of(TINY, tmp_path)
    assert f"{tmp_path / 'tiny.npz'} lacks the array {name}" in message
    assert "images" in message


def test_single_array_in_place_of_an_archive_is_refused(no_data: Path, tmp_path: Path) -> None:
    with open(tmp_path / "tiny.npz", "wb") as file:
        np.save(file, np.zeros(3))
    assert "is a single array" in error_of(TINY, tmp_path)


def test_pickles_in_place_of_an_archive_are_never_unpickled(no_data: Path, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    (tmp_path / "tiny.npz").write_bytes(pickle.dumps(Payload(marker)))
    assert "cannot read" in error_of(TINY, tmp_path)
    assert not marker.exists()


def any_array() -> st.SearchStrategy[np.ndarray]:
    dtypes = st.sampled_from([np.uint8, np.int8, np.int64, np.float32, np.bool_, np.dtype("U3")])
    shapes = arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
    return arrays_of.arrays(dtypes, shapes)


@given(contents=st.dictionaries(st.sampled_from([*ARRAYS, "other"]), any_array(), max_size=5))
def test_archive_with_any_contents_is_either_sound_or_refused_by_name(
    contents: dict[str, np.ndarray],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.npz"
        np.savez(path, **contents)
        check_read(path)


@given(position=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), truncate=st.booleans())
def test_damaged_archive_is_either_sound_or_refused_by_name(
    position: float, value: int, truncate: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.npz"
        np.savez_compressed(path, **random_arrays((2, 2)))
        content = bytearray(path.read_bytes())
        at = int(position * len(content))
        content[at] = value
        path.write_bytes(content[:at] if truncate else content)
        check_read(path)


def check_read(path: Path) -> None:
    try:
        read = read_images(TINY, DataOptions(data_dir=path.parent, download=False))
    except EvooptError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
    else:
        for part in ("train", "test"):
            assert read[f"x_{part}"].dtype == np.uint8
            assert read[f"x_{part}"].shape[1:3] == (2, 2)
            assert 0 < len(read[f"x_{part}"]) == len(read[f"y_{part}"])
            assert set(read[f"y_{part}"].tolist()) <= set(range(10))
