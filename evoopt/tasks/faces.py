"""The ORL (AT&T) database of faces: 40 people, 10 images each."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.tasks.datasets import Normalisation
from evoopt.tasks.image_folders import DataFiles, find_folder
from evoopt.tasks.splitting import fixed_division, split_data
from evoopt.tasks.task import DataOptions, TaskData

PEOPLE, IMAGES, SIDE = 40, 10, 64
_HEIGHT, _WIDTH = 112, 92
_HEADER = re.compile(rb"P5\s+(?:#[^\n]*\n\s*)*(\d+)\s+(\d+)\s+(\d+)\s")

FILES = DataFiles(
    "orl",
    tuple(f"s{person}/{image}.pgm" for person in range(1, PEOPLE + 1) for image in range(1, IMAGES + 1)),
    "https://cam-orl.co.uk/facedatabase.html",
    ("orl_faces", "att_faces", "orl"),
)
FACES = Normalisation(255, (0.44,), (0.19,))


@functools.cache  # one loader per division, by which a comparison knows tasks on the same data
def faces_loader(per_person: int) -> Callable[[DataOptions], TaskData]:
    """Return a loader with ``per_person`` images of everybody to train and validate on, the rest to test on.

    The division is the same for every seed. Images ``[n, 1, 64, 64]`` are the originals of 112 by 92 pixels,
    resized with antialiasing; classes are the 40 people.
    """
    if not 0 < per_person < IMAGES:
        raise EvooptError(f"per_person must be between 1 and {IMAGES - 1}, not {per_person}")

    def load(options: DataOptions) -> TaskData:
        folder = find_folder(FILES, options)
        pixels = torch.stack([_read_pgm(folder / name) for name in FILES.files]).unsqueeze(1)
        images = F.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", antialias=True)
        people = np.repeat(np.arange(PEOPLE), IMAGES)
        test = fixed_division(people, PEOPLE * (IMAGES - per_person))
        return split_data(images[~test], people[~test], images[test], people[test], options, FACES)

    return load


def _read_pgm(path: Path) -> Tensor:
    content = path.read_bytes()
    header = _HEADER.match(content)
    if header is None or tuple(map(int, header.groups())) != (_WIDTH, _HEIGHT, 255):
        raise EvooptError(f"{path} is not a binary PGM of {_WIDTH} by {_HEIGHT} pixels; replace the file")
    pixels = np.frombuffer(content, np.uint8, offset=header.end())
    if len(pixels) < _WIDTH * _HEIGHT:
        raise EvooptError(f"{path} is truncated; replace the file")
    return torch.from_numpy(pixels[: _WIDTH * _HEIGHT].reshape(_HEIGHT, _WIDTH).astype(np.float32))
