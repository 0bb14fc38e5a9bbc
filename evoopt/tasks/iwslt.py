"""Vietnamese-English sentence pairs of IWSLT 2015: tst2012 to train on, tst2013 to test on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.tasks.image_folders import DataFiles, find_folder
from evoopt.tasks.models.translation import PADDING, Translator, token_accuracy, token_loss
from evoopt.tasks.splitting import split_data
from evoopt.tasks.task import DataOptions, Task, TaskData

FILES = DataFiles(
    "iwslt15",
    ("tst2012.vi", "tst2012.en", "tst2013.vi", "tst2013.en"),
    "https://nlp.stanford.edu/projects/nmt/data/iwslt15.en-vi/",
    ("iwslt15", "iwslt15.en-vi"),
)
VOCABULARIES = ("vocab.vi", "vocab.en")
"""Files at the same address that the task of the published size reads where they are: a word per line."""
LENGTH, FULL_LENGTH = 40, 60
SOURCE_WORDS, TARGET_WORDS = 1_563, 1_764
"""Sizes of the vocabularies: all words that occur at least twice in tst2012, and four special tokens."""
PUBLISHED_WORDS = 7_709, 17_191
"""Published sizes, of the whole corpus, the tokens for unknown, start and end included."""

_UNKNOWN, _START, _END = 1, 2, 3
_SPECIAL = 4


def load_vietnamese_english(options: DataOptions, full: bool = False) -> TaskData:
    """Load 1,553 sentence pairs to train and validate on and 1,268 to test on, as indices of words.

    The sets of Vose et al. (2019). Inputs ``[n, 80]`` are the first 40 words of the Vietnamese sentence, then
    a start token and the first 39 words of the English one; targets ``[n, 40]`` are the English sentence and
    an end token. All are padded with 0. Words that occur at most once in tst2012 are one unknown word: of the
    test part 8 % of the Vietnamese and 18 % of the English ones.

    Args:
        options: Where the data are, and how many.
        full: Take 60 words instead of 40, which cuts 1.8 % of the English test sentences and not 9.7 %, and
            the published vocabularies, from `VOCABULARIES`; without these files all words of tst2012, 2,487
            and 3,727, so that 6 % and 13 % of the test words stay unknown.
    """
    folder = find_folder(FILES, options)
    train, test = (_pairs(folder / f"{part}.vi", folder / f"{part}.en") for part in ("tst2012", "tst2013"))
    words = []
    for part, (size, published) in enumerate(zip((SOURCE_WORDS, TARGET_WORDS), PUBLISHED_WORDS, strict=True)):
        listed, sentences = folder / VOCABULARIES[part], (pair[part] for pair in train)
        if full and listed.exists():
            words.append(_listed(listed, published))
        else:
            words.append(vocabulary(sentences, published, 1) if full else vocabulary(sentences, size))
    source, target = words
    length = FULL_LENGTH if full else LENGTH
    return split_data(
        *_encoded(train, source, target, length), *_encoded(test, source, target, length), options
    )


def vocabulary(sentences: Iterable[Sequence[str]], size: int, least: int = 2) -> dict[str, int]:
    """Number the commonest words that occur ``least`` times, from 4 on; at most ``size`` tokens in all."""
    counts = Counter(word for sentence in sentences for word in sentence)
    repeated = [word for word, count in counts.items() if count >= least]
    ordered = sorted(repeated, key=lambda word: (-counts[word], word))
    return {word: index for index, word in enumerate(ordered[: size - _SPECIAL], start=_SPECIAL)}


def _listed(path: Path, size: int) -> dict[str, int]:
    """Number the words of a file, whose first three lines are the special tokens, from 4 on."""
    words = _lines(path)[_SPECIAL - 1 :]
    if len(set(words)) != size + 1 - _SPECIAL:
        raise EvooptError(f"{path} has {len(set(words)) + 3} words, expected {size}; replace the file")
    return {word: index for index, word in enumerate(words, start=_SPECIAL)}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EvooptError(f"cannot read {path}; replace the file ({error})") from None


def _pairs(source: Path, target: Path) -> list[tuple[list[str], list[str]]]:
    lines = [_lines(source), _lines(target)]
    if len(lines[0]) != len(lines[1]):
        raise EvooptError(
            f"{source} has {len(lines[0])} lines but {target} has {len(lines[1])}; replace both files"
        )
    pairs = [(vietnamese.split(), english.split()) for vietnamese, english in zip(*lines, strict=True)]
    return [pair for pair in pairs if all(pair)]


def _encoded(
    pairs: Sequence[tuple[Sequence[str], Sequence[str]]],
    source: dict[str, int],
    target: dict[str, int],
    length: int,
) -> tuple[Tensor, Tensor]:
    inputs, targets = [], []
    for vietnamese, english in pairs:
        read = [source.get(word, _UNKNOWN) for word in vietnamese[:length]]
        written = [*(target.get(word, _UNKNOWN) for word in english), _END][:length]
        shifted = [_START, *written[:-1]]
        inputs.append(_padded(read, length) + _padded(shifted, length))
        targets.append(_padded(written, length))
    return torch.tensor(inputs), torch.tensor(targets)


def _padded(tokens: list[int], length: int) -> list[int]:
    return tokens + [PADDING] * (length - len(tokens))


TRANSLATIONS = (
    Task(
        "iwslt_vi_en",
        partial(Translator, SOURCE_WORDS, TARGET_WORDS, LENGTH),
        load_vietnamese_english,
        batch_size=32,
        loss=token_loss,
        metric=token_accuracy,
        description="IWSLT'15 Vietnamese to English (tst2012, tst2013), GRUs with attention",
        family="sequences",
    ),
    Task(
        "iwslt_vi_en_full",
        partial(Translator, PUBLISHED_WORDS[0] + 1, PUBLISHED_WORDS[1] + 1, FULL_LENGTH),
        partial(load_vietnamese_english, full=True),
        batch_size=32,
        loss=token_loss,
        metric=token_accuracy,
        description="the same, with the published vocabularies of 7,709 and 17,191 words",
        family="sequences",
    ),
)
"""Translation, with a small vocabulary and with that of the publication."""
