"""An executor that scores rules by a formula instead of training them, for tests of everything around it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from evoopt.execution import ChunkResult
from evoopt.jobs.rule_worker import Chunk, EngineProbe
from evoopt.optim import UpdateRule
from evoopt.training.plan import TrainingResult


def stub_result(rule: UpdateRule, seed: int) -> TrainingResult:
    """Best near lr 1e-3 with an Adam term; diverges at large steps; a little noise from the seed."""
    size = rule.lr * sum(abs(weight) for _, weight in rule.terms)
    if size > 0.1:
        return TrainingResult.unsuccessful("diverged", "loss is nan", steps=3)
    noise = np.random.default_rng([seed, int(rule.key, 16)]).normal(0, 0.01)
    score = (
        0.5
        + 0.3 * math.exp(-((math.log10(size + 1e-9) + 3) ** 2))
        + 0.1 * ("adam" in dict(rule.terms))
        + noise
    )
    curve = tuple(2.0 - k * score / 10 for k in range(20))
    return TrainingResult("ok", "", 10, 1 - score, 1 - score, score, 0.001, curve=curve)


def interrupt(*_: object, **__: object) -> NoReturn:
    """Ctrl-C, in the place of what is called on the way."""
    raise KeyboardInterrupt


class StubExecutor:
    """Counts what it runs; raises ``KeyboardInterrupt`` before chunk number ``stop_at``."""

    def __init__(self, stop_at: int | None = None, fail: Any = lambda chunk: None) -> None:
        self.stop_at = stop_at
        self.fail = fail
        self.chunks: list[Chunk] = []

    def run(self, chunks: Sequence[Any]) -> Iterator[ChunkResult]:
        # Completion order differs from the order of submission, as in a pool.
        for index in reversed(range(len(chunks))):
            chunk = chunks[index]
            if isinstance(chunk, EngineProbe):
                yield ChunkResult(index=index, value=("sequential", {}), error=None, attempts=1, seconds=0.0)
                continue
            if self.stop_at is not None and len(self.chunks) >= self.stop_at:
                raise KeyboardInterrupt
            self.chunks.append(chunk)
            error = self.fail(chunk)
            rules = chunk.rules if isinstance(chunk, Chunk) else chunk.members
            value = None if error else [stub_result(rule, chunk.plan.seed) for rule in rules]
            yield ChunkResult(index=index, value=value, error=error, attempts=1, seconds=0.0)

    def close(self) -> None:
        pass
