"""Vietnamese-English sentence pairs of IWSLT 2015: tst2012 to train on, tst2013 to test on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.tasks.image_folders import DataFiles, find_folder
from evoopt.tasks.models.translation import PADDING
from evoopt.tasks.splitting import split_data
from evoopt.tasks.task import DataOptions, TaskData

FILES = DataFiles(
    "iwslt15",
    ("tst2012.vi", "tst2012.en", "tst2013.vi", "tst2013.en"),
    "https://nlp.stanford.edu/projects/nmt/data/iwslt15.en-vi/",
    ("iwslt15", "iwslt15.en-vi"),
)
LENGTH = 40
SOURCE_WORDS, TARGET_WORDS = 1_563, 1_764
"""Sizes of the vocabularies: all words that occur at least twice in tst2012, and four special tokens."""

_UNKNOWN, _START, _END = 1, 2, 3
_SPECIAL = 4


def load_vietnamese_english(options: DataOptions) -> TaskData:
    """Load 1,553 sentence pairs to train and validate on and 1,268 to test on, as indices of words.

    The sets of Vose et al. (2019). Inputs ``[n, 80]`` are the first 40 words of the Vietnamese sentence, then
    a start token and the first 39 words of the English one; targets ``[n, 40]`` are the English sentence and
    an end token. All are padded with 0. Words that occur at most once in tst2012 are one unknown word.
    """
    folder = find_folder(FILES, options)
    train, test = (_pairs(folder / f"{part}.vi", folder / f"{part}.en") for part in ("tst2012", "tst2013"))
    source = vocabulary((vietnamese for vietnamese, _ in train), SOURCE_WORDS)
    target = vocabulary((english for _, english in train), TARGET_WORDS)
    return split_data(*_encoded(train, source, target), *_encoded(test, source, target), options)


def vocabulary(sentences: Iterable[Sequence[str]], size: int) -> dict[str, int]:
    """Number the commonest words that occur at least twice, from 4 on; at most ``size`` tokens in all."""
    counts = Counter(word for sentence in sentences for word in sentence)
    repeated = [word for word, count in counts.items() if count > 1]
    ordered = sorted(repeated, key=lambda word: (-counts[word], word))
    return {word: index for index, word in enumerate(ordered[: size - _SPECIAL], start=_SPECIAL)}


def _pairs(source: Path, target: Path) -> list[tuple[list[str], list[str]]]:
    lines = []
    for path in (source, target):
        try:
            lines.append(path.read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise EvooptError(f"cannot read {path}; replace the file ({error})") from None
    if len(lines[0]) != len(lines[1]):
        raise EvooptError(
            f"{source} has {len(lines[0])} lines but {target} has {len(lines[1])}; replace both files"
        )
    pairs = [(vietnamese.split(), english.split()) for vietnamese, english in zip(*lines, strict=True)]
    return [pair for pair in pairs if all(pair)]


def _encoded(
    pairs: Sequence[tuple[Sequence[str], Sequence[str]]], source: dict[str, int], target: dict[str, int]
) -> tuple[Tensor, Tensor]:
    x = torch.full((len(pairs), 2 * LENGTH), PADDING)
    y = torch.full((len(pairs), LENGTH), PADDING)
    for row, (vietnamese, english) in enumerate(pairs):
        read = [source.get(word, _UNKNOWN) for word in vietnamese[:LENGTH]]
        written = [*(target.get(word, _UNKNOWN) for word in english), _END][:LENGTH]
        x[row, : len(read)] = torch.tensor(read)
        x[row, LENGTH : LENGTH + len(written)] = torch.tensor([_START, *written[:-1]])
        y[row, : len(written)] = torch.tensor(written)
    return x, y
