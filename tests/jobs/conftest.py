"""One thread, as in the tests of training."""

from __future__ import annotations

from tests.training.conftest import one_thread

__all__ = ["one_thread"]
