"""Data that come with the package: made up, or scikit-learn's in other forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from evoopt.errors import EvooptError
from evoopt.tasks import TASKS, DataOptions, TaskData, get_task
from evoopt.tasks.characters import CHARACTERS, load_characters
from evoopt.tasks.stand_ins import STAND_INS
from evoopt.tasks.synthetic import SYNTHETIC, counts_by_rank
from tests.tasks.synthetic import write_characters

MADE_UP = [task.name for task in (*SYNTHETIC, *STAND_INS[1:])]
LAST = {
    "heavy_tail": 1.197239,
    "associative_memory": -0.03732178,
    "teacher_student": -0.9220805,
    "deep_narrow": -0.2642182,
    "p3b1_stand_in": 0.57940221,
    "rpv_stand_in": 19.01714897,
}


def load(name: str, seed: int = 0) -> TaskData:
    return TASKS[name].load(DataOptions(seed=seed, validation_fraction=0.0, unseal_test=True))


@pytest.mark.parametrize("name", MADE_UP)
def test_made_up_data_are_the_same_for_every_seed_and_version(name: str) -> None:
    data, other = load(name), load(name, seed=1)
    for a, b in ((data.train, other.train), (data.test.open(), other.test.open())):
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.y, b.y)
    last = data.test.open().x[-1].flatten()
    one = last.max() if name == "rpv_stand_in" else last[-1]
    assert one.item() == pytest.approx(LAST[name], rel=1e-5)


@pytest.mark.parametrize("name", [*MADE_UP, "breast_cancer", "wine", "digits_autoencoder"])
def test_no_test_example_is_trained_on(name: str) -> None:
    data = load(name)
    train, test = (part.x.flatten(1) + 0.0 for part in (data.train, data.test.open()))  # there is no -0.0
    assert not {row.tobytes() for row in train.numpy()} & {row.tobytes() for row in test.numpy()}


@pytest.mark.parametrize(
    ("classes", "total", "expected"),
    [(1, 5, [5]), (3, 3, [1, 1, 1]), (3, 14, [7, 4, 3]), (4, 5, [2, 1, 1, 1])],
)
def test_counts_fall_with_the_rank_and_none_is_zero(classes: int, total: int, expected: list[int]) -> None:
    assert counts_by_rank(classes, total).tolist() == expected


@pytest.mark.parametrize("name", ["heavy_tail", "associative_memory"])
def test_every_class_occurs_in_both_parts_about_as_often_as_its_rank_asks(name: str) -> None:
    data = load(name)
    for part in (data.train, data.test.open()):
        counts = part.y.bincount(minlength=512)
        assert counts.min() >= 1
        assert counts.tolist() == sorted(counts.tolist(), reverse=True)
        ideal = (len(part) - 512) / np.arange(1, 513) / (1 / np.arange(1, 513)).sum()
        assert np.abs(counts.numpy() - 1 - ideal).max() < 1


def test_inputs_of_the_student_are_badly_conditioned_in_no_direction_of_an_axis() -> None:
    x = load("teacher_student").train.x
    spectrum = torch.linalg.eigvalsh(x.T @ x / len(x))
    assert 600 < spectrum[-1] / spectrum[0] < 1_200
    variances = x.var(dim=0)
    assert variances.max() / variances.min() < 1.2


def test_an_autoencoder_has_the_same_examples_as_the_classification_and_its_pixels_as_targets() -> None:
    images, pixels = load("digits"), load("digits_autoencoder")
    for a, b in ((images.train, pixels.train), (images.test.open(), pixels.test.open())):
        torch.testing.assert_close(a.x * 0.3767 + 0.3060, b.x)
        assert torch.equal(b.y, b.x.flatten(1))
        assert b.y.min() == 0
        assert b.y.max() == 1


# --- characters


def test_targets_are_the_characters_that_follow_and_the_last_tenth_is_the_test_part(tmp_path: Path) -> None:
    text = write_characters(tmp_path, sequences=40)
    data = load_characters(DataOptions(tmp_path, validation_fraction=0.0, unseal_test=True))
    test = data.test.open()
    assert (len(data.train), len(test)) == (36, 4)
    known = sorted(set(text))
    for k, part, row in ((0, data.train, 0), (35, data.train, 35), (36, test, 0)):
        window = [known.index(character) for character in text[64 * k : 64 * k + 65]]
        assert part.x[row].tolist() == window[:-1]
        assert part.y[row].tolist() == window[1:]


def test_the_published_language_task_reads_bytes_and_scores_perplexity(tmp_path: Path) -> None:
    text, task = write_characters(tmp_path, sequences=40), get_task("language")
    data = task.load(DataOptions(tmp_path, validation_fraction=0.0))
    assert data.train.x[3].tolist() == list(text[192:256].encode())
    model = task.make_model()
    assert sum(p.numel() for p in model.parameters()) == 470_528
    assert model(data.train.x[:2]).shape == (2, 256, 64)
    logits = torch.zeros(3, 50, 7)
    assert task.metric(logits, torch.zeros(3, 7, dtype=torch.int64)) == pytest.approx(0.5)
    assert task.metric(torch.zeros(3, 200, 7), torch.zeros(3, 7, dtype=torch.int64)) == 0


@pytest.mark.data
def test_original_text_is_read() -> None:
    try:
        data = load_characters(DataOptions(validation_fraction=0.0, unseal_test=True))
    except EvooptError as error:
        pytest.skip(str(error))
    assert (len(data.train), len(data.test)) == (15_686, 1_742)
    assert data.train.x.unique().tolist() == list(range(CHARACTERS))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "'tinyshakespeare' is not in .*: get input.txt from https://.* a folder tinyshakespeare$"),
        (b"abc" * 1_000, "input.txt has 3 different characters instead of 65; replace the file$"),
        (bytes(range(65)) * 2, "input.txt has only 130 characters; replace the file$"),
    ],
)
def test_a_text_that_is_missing_or_another_gives_one_line(
    content: bytes | None, message: str, tmp_path: Path, no_data: Path
) -> None:
    if content is not None:
        (tmp_path / "input.txt").write_bytes(content)
    with pytest.raises(EvooptError, match=message):
        load_characters(DataOptions(tmp_path))
