"""Trains and scores populations of living models in chunks: in this process, in a pool, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evoopt.execution import Executor
from evoopt.execution.place import Precision
from evoopt.execution.precision import WorkersIn
from evoopt.jobs.phase_worker import Examples, PhaseChunk, PhaseResult, PhaseSetup, make_phase_worker
from evoopt.jobs.queue import Memory, jobs_here, run_jobs
from evoopt.jobs.transfer import as_arrays, received, sending
from evoopt.training.members import Members, joined
from evoopt.training.phase import PhaseEngine
from evoopt.training.plan import PhasePlan

Scores = list[tuple[list[float], list[float]]]

_FAILURE = "training a chunk of members failed"


class PhaseTrainer:
    """Trains and scores `Members` by chunks; the result does not depend on who works on them.

    Args:
        run: Runs chunks and returns their results in order.
        chunk_size: Members per chunk. It decides how sums are rounded, so it belongs to the configuration.
        engine: How to train.
    """

    def __init__(
        self,
        run: Callable[[Sequence[PhaseChunk]], Sequence[PhaseResult]],
        chunk_size: int = 10,
        engine: PhaseEngine = "batched",
    ) -> None:
        self._run = run
        self._chunk_size = chunk_size
        self._engine: PhaseEngine = engine

    @classmethod
    def here(
        cls,
        setup: PhaseSetup,
        chunk_size: int = 10,
        engine: PhaseEngine = "batched",
        precision: Precision = "full",
    ) -> PhaseTrainer:
        """One that works in this process."""
        work = WorkersIn(make_phase_worker, precision)(setup)
        return cls(jobs_here(work, _FAILURE), chunk_size, engine)

    @classmethod
    def on(
        cls,
        executor: Executor,
        chunk_size: int = 10,
        engine: PhaseEngine = "batched",
        exchange: Path | None = None,
        memory: Memory[PhaseChunk, PhaseResult] | None = None,
        states: Path | None = None,
    ) -> PhaseTrainer:
        """One that has an executor do it, whose workers `make_phase_worker` makes.

        Args:
            executor: Where.
            chunk_size: Members per chunk.
            engine: How to train.
            exchange: Folder that all machines see; members travel in it, not in messages.
            memory: Holds chunks that an interrupted attempt has finished.
            states: See `run_jobs`.
        """

        def run(chunks: Sequence[PhaseChunk]) -> list[PhaseResult]:
            with sending(exchange) as send:
                results = run_jobs(
                    executor,
                    chunks,
                    memory,
                    chunk_of=lambda chunk: replace(chunk, tensors=send(chunk.tensors)),
                    states=states,
                    failure=_FAILURE,
                )
                return [_unpacked(result) for result in results]

        return cls(run, chunk_size, engine)

    def train(
        self, members: Members, plan: PhasePlan, scored: Sequence[Examples] = ()
    ) -> tuple[Members, Tensor, Scores]:
        """Train members and score them.

        Args:
            members: Who is trained; they stay as they are.
            plan: For how long, on which data.
            scored: What to score the trained members on.

        Returns:
            The trained members, batch losses ``[steps, P]``, and for each thing scored on losses and metrics
            (lists of P numbers, NaN where weights are not finite).

        Raises:
            EvooptError: A chunk failed, its worker was lost twice, or a worker could not be made.
        """
        results = self._chunks(members, plan, scored)
        trained = [
            members.with_tensors(received(r.tensors or {}), rules)
            for r, rules in zip(results, self._split(members.rules), strict=True)
        ]
        losses = torch.cat([torch.from_numpy(np.array(r.losses)) for r in results], dim=1)
        return joined(trained), losses, _joined_scores(results)

    def score(self, members: Members, scored: Sequence[Examples]) -> Scores:
        """Score members; see `train`."""
        return _joined_scores(self._chunks(members, None, scored))

    def _split(self, items: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return [items[k : k + self._chunk_size] for k in range(0, len(items), self._chunk_size)]

    def _chunks(
        self, members: Members, plan: PhasePlan | None, scored: Sequence[Examples]
    ) -> Sequence[PhaseResult]:
        arrays, chunks = as_arrays(members.tensors()), []
        for k, rules in enumerate(self._split(members.rules)):
            rows = slice(k * self._chunk_size, k * self._chunk_size + len(rules))
            of_rows = None if plan is None else _with_seeds_of(plan, rows)
            tensors = {name: array[rows] for name, array in arrays.items()}
            chunks.append(PhaseChunk(tensors, rules, of_rows, self._engine, tuple(scored)))
        return self._run(chunks)


def _with_seeds_of(plan: PhasePlan, rows: slice) -> PhasePlan:
    if plan.shared:
        return plan
    # A chunk of a single member would otherwise take its one seed for a shared one, which is the same.
    return replace(plan, seeds=plan.seeds[rows])


def _unpacked(result: PhaseResult) -> PhaseResult:
    """The same with the members themselves in place of their file, which is about to be removed."""
    if not isinstance(result.tensors, Path):
        return result
    return replace(result, tensors=as_arrays(received(result.tensors)))


def _joined_scores(results: Sequence[PhaseResult]) -> Scores:
    count = len(results[0].scores)
    joined_ = [np.concatenate([r.scores[k] for r in results], axis=1) for k in range(count)]
    return [(pair[0].tolist(), pair[1].tolist()) for pair in joined_]
