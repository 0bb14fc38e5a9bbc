"""How a search scales with workers: what is measured here, and a model that projects it to many more.

``python -m benchmarks.scaling`` measures what a chunk costs beside its own work, and the speed-up from one to
two workers on real training; then it simulates generations on 1 to 1,000 workers from these figures.

The model is a queue: the leader and the scheduler handle chunks one after the other, each taking the measured
overhead; a chunk starts when it was handed out and a worker is free; the leader's own work on a generation
(variation, bookkeeping, the database) is done by nobody else. Service times are drawn from those measured.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evoopt.evolution.worker import Chunk, WorkerSetup, make_worker
from evoopt.execution import Executor, make_executor, ordered
from evoopt.genomes.robust import RobustOperators
from evoopt.genomes.space import OptimizerSpace
from evoopt.tasks import DataOptions
from evoopt.training.plan import TrainingPlan

KINDS = ("process", "dask")
WORKERS = (1, 2, 10, 100, 1000)


@dataclass(frozen=True)
class Measured:
    """Figures of one executor.

    Attributes:
        kind: Which.
        overhead_ms: Time per chunk that does nothing, two workers.
        transfer_ms_per_mb: Time per MB of a chunk that comes back as it went, one worker.
        seconds: Wall time of the same real chunks with one and with two workers, medians.
        service: What each of the chunks took on one worker, in seconds.
    """

    kind: str
    overhead_ms: float
    transfer_ms_per_mb: float
    seconds: dict[int, float]
    service: list[float]


class Echo:
    """Gives back what it was given."""

    def __call__(self, chunk: Any) -> Any:
        return chunk


def make_echo(setup: Any) -> Echo:
    return Echo()


@contextmanager
def warm(executor: Executor, chunk: Any, workers: int) -> Iterator[Executor]:
    """An executor whose workers are there."""
    with executor:
        list(executor.run([chunk] * (4 * workers)))
        yield executor


def overhead_ms(kind: str, chunks: int = 1000, rounds: int = 5) -> float:
    """Time per chunk that does nothing, least of some rounds."""
    made = make_executor(kind, make_echo, None, workers=2)  # type: ignore[arg-type]
    with warm(made, b"", 2) as executor:
        return min(_timed(executor, [b""] * chunks) for _ in range(rounds)) / chunks * 1e3


def transfer_ms_per_mb(kind: str, megabytes: int = 20, rounds: int = 5) -> float:
    """Time per MB there and back, least of some rounds."""
    made = make_executor(kind, make_echo, None, workers=1)  # type: ignore[arg-type]
    payload = os.urandom(megabytes * 1_000_000)
    with warm(made, b"", 1) as executor:
        return min(_timed(executor, [payload]) for _ in range(rounds)) / megabytes * 1e3


def training_chunks(chunks: int, size: int, steps: int) -> list[Chunk]:
    """Chunks of random rules on the digits, as a first generation has them."""
    import numpy as np

    operators, rng = RobustOperators(OptimizerSpace()), np.random.default_rng(0)
    plan = TrainingPlan(steps, 1, 0)
    return [
        Chunk(
            "digits_cnn",
            tuple(operators.random(rng).rule().canonical() for _ in range(size)),
            plan,
            "sequential",
        )
        for _ in range(chunks)
    ]


def measure(kind: str, chunks: Sequence[Chunk], rounds: int) -> Measured:
    """All figures of an executor; one and two workers are timed in turn."""
    setup = WorkerSetup(("digits_cnn",), DataOptions())
    walls: dict[int, list[float]] = {1: [], 2: []}
    service: list[float] = []
    executors = {n: make_executor(kind, make_worker, setup, workers=n) for n in walls}  # type: ignore[arg-type]
    with warm(executors[1], chunks[0], 1), warm(executors[2], chunks[0], 2):
        for _ in range(rounds):
            for n, executor in executors.items():
                begin = time.perf_counter()
                results = ordered(executor.run(chunks), len(chunks))
                walls[n].append(time.perf_counter() - begin)
                assert all(result.error is None for result in results)
                service = [result.seconds for result in results] if n == 1 else service
    seconds = {n: statistics.median(own) for n, own in walls.items()}
    return Measured(kind, overhead_ms(kind), transfer_ms_per_mb(kind), seconds, service)


def generation_seconds(
    workers: int, chunks: int, service: Sequence[float], overhead_s: float, leader_s: float, seed: int = 0
) -> float:
    """Simulated time of a generation.

    Args:
        workers: How many.
        chunks: Chunks of the generation.
        service: Times to draw from, in seconds.
        overhead_s: Handling of a chunk, one after the other.
        leader_s: The leader's own work on the generation.
        seed: Of the draws.
    """
    rng = random.Random(seed)
    free = [0.0] * min(workers, chunks)
    end = 0.0
    for k in range(chunks):
        start = max(heapq.heappop(free), k * overhead_s)
        finish = start + rng.choice(service)
        heapq.heappush(free, finish)
        end = max(end, finish + overhead_s)
    return leader_s + end


def project(
    measured: Measured, chunks: int, size: int, scale: float, leader_ms: float
) -> list[dict[str, float]]:
    """Simulated speed-up and efficiency for many workers.

    Args:
        measured: Figures.
        chunks: Chunks per generation.
        size: Evaluations per chunk.
        scale: Factor on the service times.
        leader_ms: The leader's own work per evaluation.
    """
    service = [s * scale for s in measured.service]
    leader_s = leader_ms / 1e3 * chunks * size
    times = {n: generation_seconds(n, chunks, service, measured.overhead_ms / 1e3, leader_s) for n in WORKERS}
    return [
        {
            "workers": n,
            "seconds": times[n],
            "speed_up": times[1] / times[n],
            "efficiency": times[1] / times[n] / n,
        }
        for n in WORKERS
    ]


def _timed(executor: Executor, chunks: Sequence[Any]) -> float:
    begin = time.perf_counter()
    results = list(executor.run(chunks))
    assert all(result.error is None for result in results)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chunks", type=int, default=16, help="Real chunks to time.")
    parser.add_argument("--size", type=int, default=12, help="Rules per chunk.")
    parser.add_argument("--steps", type=int, default=200, help="Steps per training.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--leader-ms", type=float, default=0.4, help="Per evaluation; see benchmarks.load.")
    parser.add_argument("--out", type=Path, help="JSON file for the figures.")
    options = parser.parse_args()
    chunks = training_chunks(options.chunks, options.size, options.steps)
    found: dict[str, Any] = {"load_before": os.getloadavg()[0]}
    for kind in KINDS:
        measured = measure(kind, chunks, options.rounds)
        one, two = measured.seconds[1], measured.seconds[2]
        print(
            f"{kind:8} {measured.overhead_ms:6.2f} ms/chunk {measured.transfer_ms_per_mb:6.2f} ms/MB  "
            f"1 worker {one:6.1f} s  2 workers {two:6.1f} s  speed-up {one / two:.2f}  "
            f"mean chunk {statistics.fmean(measured.service):.2f} s"
        )
        found[kind] = asdict(measured)
        for name, count, scale in (
            ("this task", 1000, 1.0),
            ("ten times longer", 1000, 10.0),
            ("this task", 10_000, 1.0),
        ):
            rows = project(measured, count, options.size, scale, options.leader_ms)
            line = "  ".join(
                f"{int(r['workers'])}: {r['speed_up']:.1f} ({r['efficiency']:.0%})" for r in rows
            )
            print(f"         {count:,} chunks, {name}: {line}")
    found["load_after"] = os.getloadavg()[0]
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
