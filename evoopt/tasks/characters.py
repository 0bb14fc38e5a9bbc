"""What follows in a text, character by character: tinyshakespeare."""

from __future__ import annotations

import torch

from evoopt.errors import EvooptError
from evoopt.tasks.image_folders import DataFiles, find_folder
from evoopt.tasks.splitting import split_data
from evoopt.tasks.task import DataOptions, TaskData

FILES = DataFiles(
    "tinyshakespeare",
    ("input.txt",),
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    ("tinyshakespeare",),
)
CHARACTERS, CONTEXT = 65, 64
"""Different characters of the text, and length of the sequences."""

_TEST_SHARE = 10


def load_characters(options: DataOptions, numbered: bool = True) -> TaskData:
    """Load the text as sequences: inputs ``[n, 64]`` are characters, targets those that follow each.

    Sequences lie behind one another; the last tenth of them is the test part.

    Args:
        options: How to load.
        numbered: Whether characters are numbered from 0 in their order; else they are bytes.

    Raises:
        EvooptError: No such file, or another text.
    """
    path = find_folder(FILES, options) / FILES.files[0]
    try:
        text = path.read_bytes()
    except OSError as error:
        raise EvooptError(f"cannot read {path}; replace the file ({error})") from None
    known = sorted(set(text))
    if len(known) != CHARACTERS:
        raise EvooptError(
            f"{path} has {len(known)} different characters instead of {CHARACTERS}; replace the file"
        )
    codes = torch.arange(256)
    if numbered:
        codes[known] = torch.arange(CHARACTERS)
    stream = codes[torch.frombuffer(bytearray(text), dtype=torch.uint8).long()]
    count = (len(stream) - 1) // CONTEXT
    if count < 2 * _TEST_SHARE:
        raise EvooptError(f"{path} has only {len(text):,} characters; replace the file")
    x, y = (stream[start : start + count * CONTEXT].view(count, CONTEXT) for start in (0, 1))
    end = count - count // _TEST_SHARE
    return split_data(x[:end], y[:end], x[end:], y[end:], options)
