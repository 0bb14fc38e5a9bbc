from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torchvision.datasets

from evoopt.errors import EvooptError
from evoopt.tasks.datasets import _IMAGE_SETS
from evoopt.tasks.files import ARRAYS, read_images
from evoopt.tasks.task import DataOptions
from tests.tasks.conftest import Payload, assert_same, error_of, random_arrays

MNIST, CIFAR10 = _IMAGE_SETS["mnist"][0], _IMAGE_SETS["cifar10"][0]


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(root: Path, arrays: dict[str, np.ndarray]) -> Path:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for array, name in zip(("x_train", "y_train", "x_test", "y_test"), MNIST.files):
        (raw / name).write_bytes(idx_bytes(arrays[array]))
    return raw


# --- where data are looked for


def test_data_dir_comes_before_the_environment_and_that_before_the_cache(
    no_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / "named", tmp_path / "env", no_data]
    contents = [random_arrays((28, 28), seed=seed) for seed in range(3)]
    for folder, arrays in zip(folders, contents):
        folder.mkdir(parents=True)
        np.savez(folder / "mnist.npz", **arrays)
    monkeypatch.setenv("EVOOPT_DATA", str(folders[1]))
    assert_same(read_images(MNIST, DataOptions(data_dir=folders[0])), contents[0])
    (folders[0] / "mnist.npz").unlink()
    assert_same(read_images(MNIST, DataOptions(data_dir=folders[0])), contents[1])
    assert_same(read_images(MNIST, DataOptions()), contents[1])
    monkeypatch.delenv("EVOOPT_DATA")
    assert_same(read_images(MNIST, DataOptions()), contents[2])


def test_torchvision_layout_is_read_and_preferred_to_an_archive(no_data: Path, tmp_path: Path) -> None:
    original, archived = random_arrays((28, 28), seed=1), random_arrays((28, 28), seed=2)
    write_idx(tmp_path, original)
    np.savez(tmp_path / "mnist.npz", **archived)
    assert_same(read_images(MNIST, DataOptions(data_dir=tmp_path)), original)


@pytest.mark.parametrize("source", ["data_dir", "EVOOPT_DATA"])
def test_folder_that_does_not_exist_is_named(
    source: str, no_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "nowhere"
    monkeypatch.setenv("EVOOPT_DATA", str(missing))
    with pytest.raises(EvooptError, match=f"{source} names {missing}"):
        read_images(MNIST, DataOptions(data_dir=missing if source == "data_dir" else None))


def test_missing_data_without_download_says_what_to_put_where(no_data: Path, tmp_path: Path) -> None:
    message = error_of(MNIST, tmp_path)
    for part in ("'mnist'", str(tmp_path), str(no_data), "mnist.npz", "MNIST/raw", *MNIST.files, *ARRAYS):
        assert part in message


# --- downloading


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Makes torchvision download MNIST from a folder of this machine; returns the folder."""
    folder = tmp_path / "server"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as http:
        Thread(target=http.serve_forever).start()
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [f"http://127.0.0.1:{http.server_port}/"])
        yield folder
        http.shutdown()


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch, arrays: dict[str, np.ndarray]) -> None:
    resources = []
    for array, name in zip(("x_train", "y_train", "x_test", "y_test"), MNIST.files):
        packed = gzip.compress(idx_bytes(arrays[array]), mtime=0)
        (folder / f"{name}.gz").write_bytes(packed)
        resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)


def test_missing_data_are_downloaded_into_the_cache_and_found_there_again(
    server: Path, no_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "named"
    named.mkdir()
    arrays = random_arrays((28, 28))
    publish(server, monkeypatch, arrays)
    assert_same(read_images(MNIST, DataOptions(data_dir=named)), arrays)
    assert list(named.iterdir()) == []
    assert_same(read_images(MNIST, DataOptions(data_dir=named, download=False)), arrays)
    assert {path.name for path in no_data.iterdir()} <= {"MNIST", "mnist.lock"}


def test_workers_that_miss_the_same_data_download_it_once(
    server: Path, no_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = random_arrays((28, 28))
    publish(server, monkeypatch, arrays)
    downloads = []
    download = torchvision.datasets.MNIST.download
    monkeypatch.setattr(
        torchvision.datasets.MNIST, "download", lambda self: (downloads.append(self), download(self))
    )
    with ThreadPoolExecutor(4) as workers:
        results = list(workers.map(lambda _: read_images(MNIST, DataOptions(data_dir=tmp_path)), range(4)))
    for result in results:
        assert_same(result, arrays)
    assert len(downloads) == 1


def test_damaged_download_is_refused_and_leaves_nothing_behind(
    server: Path, no_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(server, monkeypatch, random_arrays((28, 28)))
    (server / f"{MNIST.files[2]}.gz").write_bytes(b"something else")
    assert "downloading it failed" in error_of(MNIST, tmp_path, download=True)
    assert {path.name for path in no_data.iterdir()} <= {"mnist.lock"}


def test_no_network_says_where_to_put_the_data(
    no_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar.tar.gz")
    message = error_of(CIFAR10, tmp_path, download=True)
    assert "downloading it failed" in message
    assert f"cifar10.npz with uint8 images and labels {', '.join(ARRAYS)}, into {tmp_path}" in message


def test_cache_that_cannot_be_written_is_one_clear_error(no_data: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert "downloading it failed" in error_of(MNIST, tmp_path, download=True)


# --- torchvision's layout


def test_layout_that_lacks_a_file_names_it(no_data: Path, tmp_path: Path) -> None:
    raw = write_idx(tmp_path, random_arrays((28, 28)))
    (raw / MNIST.files[1]).unlink()
    assert f"{raw} lacks {MNIST.files[1]}" in error_of(MNIST, tmp_path)


@pytest.mark.parametrize("kept", [0, 3, 16, 1000])
@pytest.mark.parametrize("index", range(4))
def test_truncated_file_names_its_folder(index: int, kept: int, no_data: Path, tmp_path: Path) -> None:
    raw = write_idx(tmp_path, random_arrays((28, 28)))
    path = raw / MNIST.files[index]
    path.write_bytes(path.read_bytes()[: min(kept, path.stat().st_size - 1)])
    message = error_of(MNIST, tmp_path)
    assert f"cannot read the {'train' if index < 2 else 'test'} part in {raw}" in message


def test_labels_of_the_layout_are_checked(no_data: Path, tmp_path: Path) -> None:
    arrays = random_arrays((28, 28))
    arrays["y_test"][3] = 10
    write_idx(tmp_path, arrays)
    assert "y_test holds labels 0 to 10; expected 0 to 9" in error_of(MNIST, tmp_path)


def test_cifar10_files_that_are_not_the_published_ones_are_never_unpickled(
    no_data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / CIFAR10.folder
    folder.mkdir()
    marker = tmp_path / "executed"
    for name in CIFAR10.files:
        (folder / name).write_bytes(pickle.dumps(Payload(marker)))
    assert f"cannot read the train part in {folder}" in error_of(CIFAR10, tmp_path)
    assert not marker.exists()
