"""torch's global random state set for a while, as models are initialised from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch draws from a seed; the CPU's random state is then what it was.

    Without CUDA `torch.manual_seed` takes a millisecond, to note for later what no device will ask for, and
    keeps it for ever.
    """
    with torch.random.fork_rng(devices=[]):
        if torch.cuda.is_available():
            torch.manual_seed(seed)
        else:
            torch.default_generator.manual_seed(seed)
        yield
