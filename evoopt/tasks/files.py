"""How image data sets are found, read, checked and downloaded."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from evoopt.errors import EvooptError, one_line
from evoopt.tasks.image_folders import cache_folder, data_folders
from evoopt.tasks.task import DataOptions

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
CLASSES = 10
_CONNECT_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class ImageFiles:
    """What the files of a data set are called and must contain.

    Attributes:
        name: Name of the data set; its archive is ``<name>.npz``.
        torchvision_class: Class in `torchvision.datasets` that reads and downloads it.
        folder: Where that class keeps its files, relative to the data folder.
        files: The files in there.
        shape: Shape of one image, ``(h, w)`` or ``(h, w, channels)``.
    """

    name: str
    torchvision_class: str
    folder: str
    files: tuple[str, ...]
    shape: tuple[int, ...]


Arrays = Mapping[str, NDArray[np.generic]]
"""Images ``x_*`` as uint8 ``[n, *shape]`` and labels ``y_*`` ``[n]`` in 0..9."""


def read_images(files: ImageFiles, options: DataOptions) -> Arrays:
    """Read a data set from where it lies, or download it into the user's cache.

    Looks in ``options.data_dir``, then in the folder named by the environment variable ``EVOOPT_DATA``, then
    in the cache; in each for torchvision's layout first, then for ``<name>.npz``.

    Raises:
        EvooptError: Not found and not downloadable, unreadable, or not what the data set must contain.
    """
    searched = data_folders(options)
    for folder in searched:
        if (folder / files.folder).is_dir():
            return _read_torchvision(files, folder)
        archive = folder / f"{files.name}.npz"
        if archive.is_file():
            return _read_npz(files, archive)
    problem = "downloading is switched off"
    if options.download:
        try:
            return _download(files)
        except Exception as error:  # whatever a downloader, its network or the disk may raise
            problem = f"downloading it failed ({one_line(error)})"
    raise EvooptError(
        f"data set {files.name!r} is not in {' or '.join(map(str, searched))}, and {problem}; put "
        f"{files.folder}/ with {', '.join(files.files)}, or {files.name}.npz with uint8 images and labels "
        f"{', '.join(ARRAYS)}, into {searched[0]}"
    )


def _read_npz(files: ImageFiles, path: Path) -> Arrays:
    arrays: dict[str, NDArray[np.generic]] = {}
    name = ""
    try:
        content = np.load(path, allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise EvooptError(f"{path} is a single array; expected an archive of {', '.join(ARRAYS)}")
        with content as archive:
            for name in ARRAYS:
                if name not in archive:
                    raise EvooptError(
                        f"{path} lacks the array {name}; it holds {', '.join(archive) or 'none'}"
                    )
                arrays[name] = archive[name]
    except EvooptError:
        raise
    except Exception as error:  # a damaged archive can fail in zipfile, zlib or numpy's header parser
        what = f"array {name} of {path}" if name else str(path)
        raise EvooptError(f"cannot read {what}; replace the file ({one_line(error)})") from None
    return _checked(files, str(path), arrays)


def _read_torchvision(files: ImageFiles, root: Path) -> Arrays:
    import torchvision.datasets

    folder = root / files.folder
    missing = [name for name in files.files if not (folder / name).is_file()]
    if missing:
        raise EvooptError(f"{folder} lacks {', '.join(missing)} (unpacked); add it or remove the folder")
    reader = getattr(torchvision.datasets, files.torchvision_class)
    arrays: dict[str, NDArray[np.generic]] = {}
    for part in ("train", "test"):
        try:
            # CIFAR-10's reader unpickles, but only files whose MD5 is the published one.
            content = reader(root, train=part == "train", download=False)
        except Exception as error:  # a damaged file can fail anywhere in its parser
            raise EvooptError(
                f"cannot read the {part} part in {folder}; replace its files ({one_line(error)})"
            ) from None
        arrays[f"x_{part}"] = np.asarray(content.data)
        arrays[f"y_{part}"] = np.asarray(content.targets)
    return _checked(files, str(folder), arrays)


def _checked(files: ImageFiles, source: str, arrays: Arrays) -> Arrays:
    shapes = {files.shape} if len(files.shape) == 3 else {files.shape, (*files.shape, 1)}
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if x.dtype != np.uint8:
            raise EvooptError(f"{source}: x_{part} has dtype {x.dtype}; expected uint8 pixels")
        if x.shape[1:] not in shapes or x.ndim < 3:
            wanted = ", ".join(map(str, files.shape))
            raise EvooptError(f"{source}: x_{part} has shape {x.shape}; expected (n, {wanted})")
        if not np.issubdtype(y.dtype, np.integer):
            raise EvooptError(f"{source}: y_{part} has dtype {y.dtype}; expected integer labels")
        if y.ndim != 1:
            raise EvooptError(f"{source}: y_{part} has shape {y.shape}; expected one label per image, (n,)")
        if len(x) != len(y):
            raise EvooptError(f"{source}: x_{part} has {len(x)} images but y_{part} has {len(y)} labels")
        if len(x) == 0:
            raise EvooptError(f"{source}: x_{part} is empty")
        if y.min() < 0 or y.max() >= CLASSES:
            raise EvooptError(
                f"{source}: y_{part} holds labels {y.min()} to {y.max()}; expected 0 to {CLASSES - 1}"
            )
    return arrays


def _download(files: ImageFiles) -> Arrays:
    import torchvision.datasets

    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / files.folder.split("/")[0]
    # Several workers may want the same data set at once, and one that is killed must leave no partial folder.
    with FileLock(cache / f"{files.name}.lock"):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=cache) as partial, _socket_timeout(_CONNECT_TIMEOUT_S):
                getattr(torchvision.datasets, files.torchvision_class)(partial, download=True)
                os.replace(Path(partial) / target.name, target)
    return _read_torchvision(files, cache)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
