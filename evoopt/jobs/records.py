"""What is kept of a training that a search asked for."""

from __future__ import annotations

from dataclasses import dataclass

from evoopt.training.plan import TrainingResult

FINAL_REPLICATE = 1_000_000
"""Seeds of the final re-scoring start here, far from those of the search."""

FUNNEL_REPLICATE = 2 * FINAL_REPLICATE
"""Likewise those of what comes after the final."""

FUNNEL_REPEAT = 1_000_000
"""Repeats from here on are trainings longer than those of the search, each longer than the one before."""


@dataclass(frozen=True)
class Evaluation:
    """One rule trained on one task from one seed: a row of the run's archive.

    Attributes:
        generation: Generation it was made for; the number of generations for the final re-scoring, the next
            ones for what comes after it; -1 for the baseline of a search.
        chunk: Unit of work within the generation.
        position: Place within the chunk.
        key: Hash of the rule.
        task: Task name.
        replicate: Number of the seed within the task.
        repeat: 0; the generation of a literal re-evaluation; negative for a shorter training, from -n for the
            shortest of n rungs to -1 for the longest; or from `FUNNEL_REPEAT` on for a longer one.
        seed: Seed of the training.
        engine: How it was trained.
        result: What came of it.
    """

    generation: int
    chunk: int
    position: int
    key: str
    task: str
    replicate: int
    repeat: int
    seed: int
    engine: str
    result: TrainingResult
