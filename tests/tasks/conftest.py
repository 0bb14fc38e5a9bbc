from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evoopt.errors import EvooptError
from evoopt.tasks.files import ARRAYS, ImageFiles, read_images
from evoopt.tasks.image_folders import DataFiles, find_folder
from evoopt.tasks.task import DataOptions
from tests.tasks.synthetic import write_all

SHAPES = {"mnist": (28, 28), "fashion_mnist": (28, 28), "cifar10": (32, 32, 3)}
LAYOUTS = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw", "cifar10": "cifar-10-batches-py"}


def random_arrays(
    shape: tuple[int, ...], train: int = 60, test: int = 20, seed: int = 0
) -> dict[str, np.ndarray]:
    """Images and labels as a data set archive holds them; every class occurs in both parts."""
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (train, *shape), dtype=np.uint8),
        "y_train": np.arange(train, dtype=np.uint8) % 10,
        "x_test": rng.integers(0, 256, (test, *shape), dtype=np.uint8),
        "y_test": np.arange(test, dtype=np.uint8) % 10,
    }


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any data set; returns its (not yet existing) cache folder."""
    monkeypatch.delenv("EVOOPT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "evoopt" / "data"


@pytest.fixture(scope="session")
def synthetic_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    for name, shape in SHAPES.items():
        np.savez(folder / f"{name}.npz", **random_arrays(shape))
    write_all(folder)
    return folder


@pytest.fixture
def synthetic_data(no_data: Path, synthetic_folder: Path) -> Path:
    """A data folder with all public data sets, made up and small where their size may vary; only read it."""
    return synthetic_folder


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """Returns the folder with a real data set, or skips."""

    def find(name: str) -> Path:
        folder = os.environ.get("EVOOPT_DATA")
        if not folder:
            pytest.skip("EVOOPT_DATA is not set")
        path = Path(folder)
        if not ((path / LAYOUTS[name]).is_dir() or (path / f"{name}.npz").is_file()):
            pytest.skip(f"EVOOPT_DATA has no {name}")
        return path

    return find


@pytest.fixture
def original() -> Callable[[DataFiles], Path]:
    """Returns the folder with the original files of a data set, or skips."""

    def find(files: DataFiles) -> Path:
        try:
            return find_folder(files, DataOptions())
        except EvooptError as error:
            pytest.skip(str(error))

    return find


def error_of(files: ImageFiles, folder: Path, download: bool = False) -> str:
    with pytest.raises(EvooptError) as caught:
        read_images(files, DataOptions(data_dir=folder, download=download))
    message = str(caught.value)
    assert "\n" not in message
    return message


def assert_same(read: Any, expected: dict[str, np.ndarray]) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(read[name], expected[name])


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)
