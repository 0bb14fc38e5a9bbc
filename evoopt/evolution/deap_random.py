"""Python's global `random`, which DEAP's operators draw from, kept in hand."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class DeapRandom:
    """The state of Python's global `random`, which DEAP's operators draw from, as part of a run.

    Args:
        seed: Initial seed.
    """

    def __init__(self, seed: int) -> None:
        self._state = random.Random(seed).getstate()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Draw from this state inside the block; the caller's own global state is put back after it."""
        outside = random.getstate()
        random.setstate(self._state)
        try:
            yield
        finally:
            self._state = random.getstate()
            random.setstate(outside)

    def to_json(self) -> list[Any]:
        """The state as JSON."""
        version, words, gauss = self._state
        return [version, list(words), gauss]

    def from_json(self, data: list[Any]) -> None:
        """Continue from a state written by `to_json`."""
        version, words, gauss = data
        state = (version, tuple(words), gauss)
        random.Random().setstate(state)  # raises here and now what is no state
        self._state = state
