from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from evoopt.errors import EvooptError
from evoopt.tasks import DataOptions, TaskData
from evoopt.tasks.image_folders import DataFiles
from evoopt.tasks.iwslt import (
    FILES,
    FULL_LENGTH,
    LENGTH,
    PUBLISHED_WORDS,
    SOURCE_WORDS,
    TARGET_WORDS,
    VOCABULARIES,
    load_vietnamese_english,
    vocabulary,
)

UNKNOWN, START, END = 1, 2, 3


def write(folder: Path, vi: str, en: str, vi_test: str = "a", en_test: str = "a") -> DataOptions:
    for name, text in zip(FILES.files, (vi, en, vi_test, en_test)):
        (folder / name).write_text(text, encoding="utf-8")
    return DataOptions(folder, validation_fraction=0.0, unseal_test=True)


def row(*tokens: int) -> list[int]:
    return [*tokens, *[0] * (LENGTH - len(tokens))]


def test_vocabulary_holds_the_commonest_words_that_occur_twice() -> None:
    sentences = [["b", "a", "a", "c"], ["d", "b", "c", "a"], ["e", "f"]]
    assert vocabulary(sentences, 100) == {"a": 4, "b": 5, "c": 6}
    assert vocabulary(sentences, 6) == {"a": 4, "b": 5}


def test_sentences_become_padded_source_shifted_target_and_target(no_data: Path, tmp_path: Path) -> None:
    options = write(tmp_path, "ông ông bà\nông một", "he he she\nhe one he", "ông hai", "two he")
    data = load_vietnamese_english(options)
    assert data.train.x.tolist() == [
        row(4, 4, UNKNOWN) + row(START, 4, 4, UNKNOWN),
        row(4, UNKNOWN) + row(START, 4, UNKNOWN, 4),
    ]
    assert data.train.y.tolist() == [row(4, 4, UNKNOWN, END), row(4, UNKNOWN, 4, END)]
    test = data.test.open()
    assert test.x.tolist() == [row(4, UNKNOWN) + row(START, UNKNOWN, 4)]
    assert test.y.tolist() == [row(UNKNOWN, 4, END)]


@pytest.mark.parametrize(("words", "ends"), [(39, True), (40, False), (50, False)])
def test_long_sentences_are_cut(words: int, ends: bool, no_data: Path, tmp_path: Path) -> None:
    data = load_vietnamese_english(write(tmp_path, "v " * words, "e " * words))
    source, target = data.train.x[0, :LENGTH].tolist(), data.train.y[0].tolist()
    assert source == row(*[4] * min(words, LENGTH))
    assert target == ([*[4] * 39, END] if ends else [4] * 40)
    assert data.train.x[0, LENGTH:].tolist() == [START, *[4] * 39]


def test_the_published_vocabularies_are_those_of_its_files_or_all_words_at_hand(
    no_data: Path, tmp_path: Path
) -> None:
    options = write(tmp_path, "v " * 90, "he " * 59 + "she", "v", "she")
    data = load_vietnamese_english(options, full=True)
    assert data.train.y[0].tolist() == [4] * 59 + [5], "a word that occurs once is known"
    assert data.train.x[0].tolist() == [4] * FULL_LENGTH + [START, *[4] * 59]
    for name, size, words in zip(VOCABULARIES, PUBLISHED_WORDS, ("a v", "a b she he"), strict=True):
        every = ["<unk>", "<s>", "</s>", *words.split()]
        every += [f"w{k}" for k in range(size - len(every))]
        (tmp_path / name).write_text("\n".join(every), encoding="utf-8")
    data = load_vietnamese_english(options, full=True)
    assert set(data.train.y[0].tolist()) == {6, 7}
    assert set(data.train.x[0, :FULL_LENGTH].tolist()) == {5}
    (tmp_path / "vocab.en").write_text("a\nb\nc\nd", encoding="utf-8")
    with pytest.raises(EvooptError, match=r"vocab.en has 4 words, expected 17191; replace the file"):
        load_vietnamese_english(options, full=True)


def test_pairs_with_an_empty_side_are_left_out(no_data: Path, tmp_path: Path) -> None:
    data = load_vietnamese_english(write(tmp_path, "a a\n\na", "b\nb\n "))
    assert len(data.train) == 1


def test_files_of_different_lengths_are_refused(no_data: Path, tmp_path: Path) -> None:
    with pytest.raises(EvooptError, match=r"tst2012\.vi has 2 lines but .*tst2012\.en has 1"):
        load_vietnamese_english(write(tmp_path, "a\nb", "a"))


def test_other_encodings_are_refused(no_data: Path, tmp_path: Path) -> None:
    options = write(tmp_path, "a", "a")
    (tmp_path / "tst2013.vi").write_bytes("ông".encode("utf-16"))
    with pytest.raises(EvooptError, match=r"cannot read .*tst2013\.vi"):
        load_vietnamese_english(options)


def test_integer_inputs_survive_a_change_of_dtype(synthetic_data: Path) -> None:
    train = load_vietnamese_english(DataOptions(synthetic_data)).train
    moved = train.to("cpu", torch.float64)
    assert (moved.x.dtype, moved.y.dtype) == (torch.int64, torch.int64)
    assert torch.equal(moved.x, train.x)


@pytest.mark.data
def test_original_pairs_fit_the_vocabularies_exactly(original: Callable[[DataFiles], Path]) -> None:
    data: TaskData = load_vietnamese_english(DataOptions(original(FILES), None, 0.0, unseal_test=True))
    assert (len(data.train), len(data.test)) == (1_553, 1_268)
    source, target = data.train.x[:, :LENGTH], data.train.x[:, LENGTH:]
    assert (data.train.y.max() + 1, source.max() < SOURCE_WORDS) == (TARGET_WORDS, True)
    assert (data.train.y == UNKNOWN).sum() / (data.train.y > 0).sum() < 0.08
    assert torch.equal(target[:, 1:], data.train.y[:, :-1].where(data.train.y[:, 1:] > 0, 0))
    full = load_vietnamese_english(DataOptions(original(FILES), None, 0.0, unseal_test=True), full=True)
    tests = [own.test.open().y for own in (data, full)]
    unknown = [float((y == UNKNOWN).sum() / (y > 0).sum()) for y in tests]
    assert unknown == pytest.approx([0.17, 0.12], abs=0.01)
    cut = [float(((y[:, -1] > 0) & (y[:, -1] != END)).float().mean()) for y in tests]
    assert cut == pytest.approx([0.097, 0.018], abs=0.002)
