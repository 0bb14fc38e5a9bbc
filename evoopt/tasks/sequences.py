"""Small transformers: on the rows of an image, and on characters."""

from __future__ import annotations

from functools import partial

from torch import nn

from evoopt.tasks.characters import CHARACTERS, CONTEXT, load_characters
from evoopt.tasks.datasets import load_digits
from evoopt.tasks.metrics import likelihood, perplexity_score
from evoopt.tasks.models import Transformer
from evoopt.tasks.task import Task


def rows_model() -> nn.Module:
    """Classifies images ``[n, 1, 8, 8]`` by the sequence of their rows."""
    embedding = nn.Sequential(nn.Flatten(1, 2), nn.Linear(8, 16))
    return Transformer(embedding, places=8, outputs=10, causal=False, width=16, heads=4, blocks=2)


def characters_model() -> nn.Module:
    """Maps characters ``[n, 64]`` to logits of the next ones ``[n, 65, 64]``."""
    return Transformer(nn.Embedding(CHARACTERS, 64), CONTEXT, CHARACTERS, causal=True)


def language_model() -> nn.Module:
    """Maps bytes ``[n, 64]`` to logits of the next, ``[n, 256, 64]`` (Marfinetz 2025, TinyTransformer)."""
    embedding = nn.Embedding(256, 128)
    return Transformer(embedding, CONTEXT, 256, causal=True, width=128, heads=4, bias=True, norm=False)


SEQUENCES = (
    Task(
        "digits_rows",
        rows_model,
        load_digits,
        batch_size=32,
        description="scikit-learn's 8x8 digits (embedded) as 8 rows, transformer of 2 blocks",
        family="sequences",
    ),
    Task(
        "characters",
        characters_model,
        load_characters,
        batch_size=16,
        metric=likelihood,
        description="tinyshakespeare, next of 64 characters, transformer of 2 blocks",
        family="sequences",
    ),
    Task(
        "language",
        language_model,
        partial(load_characters, numbered=False),
        batch_size=128,
        metric=perplexity_score,
        description="tinyshakespeare, next of 64 bytes, transformer with 470,528 parameters",
        family="sequences",
    ),
)
"""The transformers on their data; characters are scored by the geometric mean of their probabilities, or as
published by 1 - perplexity / 100, of all sequences of the scored part."""
