"""Scores rows of weights by chunks: in this process, in a pool, or wherever an executor runs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evoopt.execution import Executor, Worker
from evoopt.jobs.phase_worker import Examples, PhaseSetup
from evoopt.jobs.queue import Memory, run_jobs
from evoopt.jobs.transfer import as_array
from evoopt.tasks.task import Split
from evoopt.training.scoring import Fitness, Scorer

Rows = NDArray[Any]
Score = Callable[[Tensor], list[float]]
"""Maps rows of weights ``[n, D]`` to their fitness, NaN for none."""


@dataclass(frozen=True)
class ScoringSetup:
    """What a worker is created from.

    Attributes:
        model: The architecture, with the buffers that all networks share.
        examples: What to score on, or a function that loads it in the worker (see `task_examples`).
        fitness: Name of a fitness, or an importable function.
        device: Where to compute.
    """

    model: nn.Module
    examples: Split | Callable[[], Split]
    fitness: str | Fitness = "accuracy"
    device: str = "cpu"

    def scorer(self) -> Scorer:
        """What scores.

        Raises:
            EvooptError: Examples that cannot be loaded, or an unknown fitness.
        """
        examples = self.examples if isinstance(self.examples, Split) else self.examples()
        return Scorer(self.model, examples, self.fitness, self.device)


def task_examples(setup: PhaseSetup, examples: Examples) -> Split:
    """Load examples of a task; `functools.partial` makes it the function of a `ScoringSetup`.

    Raises:
        EvooptError: A task that cannot be loaded.
    """
    return examples.of(setup.load()[1])


def make_scoring_worker(setup: ScoringSetup) -> Worker:
    """Load the examples and return the function that scores arrays of rows ``[n, D]``.

    Raises:
        EvooptError: See `ScoringSetup.scorer`.
    """
    scorer = setup.scorer()

    def work(chunk: Rows) -> list[float]:
        return scorer(torch.from_numpy(np.array(chunk)))

    return work


def score_on(
    executor: Executor, chunk_size: int = 5, memory: Memory[Rows, list[float]] | None = None
) -> Score:
    """Have an executor score, whose workers `make_scoring_worker` makes.

    Args:
        executor: Where.
        chunk_size: Rows per chunk. On a CPU scores do not depend on it.
        memory: Holds chunks that an interrupted attempt has finished.
    """

    def score(rows: Tensor) -> list[float]:
        chunks = [as_array(part.cpu()) for part in torch.split(rows, chunk_size)]
        scores = run_jobs(executor, chunks, memory, failure="scoring networks failed")
        return [value for of_chunk in scores for value in of_chunk]

    return score
