from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from evoopt.errors import EvooptError
from evoopt.tasks import DataOptions
from evoopt.tasks.faces import FACES, FILES, _read_pgm, faces_loader
from evoopt.tasks.image_folders import DataFiles
from tests.tasks.synthetic import write_faces


def grey_values(x: torch.Tensor) -> list[int]:
    return (x[:, 0, 0, 0] * FACES.std[0] + FACES.mean[0]).mul(255).round().int().tolist()


@pytest.mark.parametrize("count", [5, 7, 9])
def test_everybody_has_as_many_training_images_and_the_division_is_fixed(
    count: int, synthetic_data: Path
) -> None:
    parts = []
    for seed in (0, 1):
        options = DataOptions(data_dir=synthetic_data, validation_fraction=0.0, seed=seed, unseal_test=True)
        data = faces_loader(count)(options)
        assert data.train.y.bincount().tolist() == [count] * 40
        assert data.test.open().y.bincount().tolist() == [10 - count] * 40
        assert data.train.x.shape == (40 * count, 1, 64, 64)
        parts.append((grey_values(data.train.x), grey_values(data.test.open().x)))
    assert parts[0] == parts[1]
    assert sorted(parts[0][0] + parts[0][1]) == sorted(4 * p + i for p in range(1, 41) for i in range(1, 11))


@pytest.mark.parametrize(("count", "fraction", "held_out"), [(5, 0.2, 40), (5, 0.05, 10), (7, 0.1, 28)])
def test_validation_takes_at_most_its_share_of_everybody(
    count: int, fraction: float, held_out: int, synthetic_data: Path
) -> None:
    data = faces_loader(count)(DataOptions(synthetic_data, validation_fraction=fraction))
    assert len(data.validation) == held_out
    assert data.validation.y.bincount(minlength=40).max() == 1
    assert data.train.y.bincount().min() >= count - 1


def test_images_are_resized_upright(no_data: Path, tmp_path: Path) -> None:
    write_faces(tmp_path)
    pixels = np.zeros((112, 92), np.uint8)
    pixels[:56, :46] = 255  # upper left quarter
    for image in range(1, 11):
        (tmp_path / "s1" / f"{image}.pgm").write_bytes(b"P5\n# a comment\n92 112\n255\n" + pixels.tobytes())
    data = faces_loader(5)(DataOptions(tmp_path, validation_fraction=0.0))
    one = data.train.x[data.train.y == 0][0, 0]
    assert torch.equal(one > 0, torch.arange(64).lt(32).outer(torch.arange(64).lt(32)))


def test_tasks_on_the_same_division_share_a_loader() -> None:
    assert faces_loader(5) is faces_loader(5)
    assert faces_loader(5) is not faces_loader(7)


@pytest.mark.parametrize("count", [0, 10])
def test_a_part_without_images_is_refused(count: int) -> None:
    with pytest.raises(EvooptError, match=f"between 1 and 9, not {count}"):
        faces_loader(count)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a binary PGM"),
        (b"P2\n92 112\n255\n" + b"1 " * 92 * 112, "not a binary PGM"),
        (b"P5\n112 92\n255\n" + bytes(92 * 112), "not a binary PGM of 92 by 112"),
        (b"P5\n92 112\n255\n" + bytes(92 * 111), "is truncated"),
    ],
)
def test_other_images_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "1.pgm"
    path.write_bytes(content)
    with pytest.raises(EvooptError, match=f"{path} .*{message}|{path} {message}"):
        _read_pgm(path)


def test_missing_image_is_named(no_data: Path, tmp_path: Path) -> None:
    write_faces(tmp_path / "orl_faces")
    (tmp_path / "orl_faces" / "s3" / "7.pgm").unlink()
    with pytest.raises(EvooptError, match=r"orl_faces lacks s3/7\.pgm; get the rest from"):
        faces_loader(5)(DataOptions(tmp_path))


@pytest.mark.data
def test_original_faces_are_all_different_and_normalised(original: Callable[[DataFiles], Path]) -> None:
    data = faces_loader(9)(DataOptions(original(FILES), validation_fraction=0.0, unseal_test=True))
    images = torch.cat([data.train.x, data.test.open().x])
    assert len(images.flatten(1).unique(dim=0)) == 400
    assert abs(images.mean().item()) < 0.05
    assert abs(images.std().item() - 1) < 0.05
