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
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evoopt.execution import Executor, Worker, make_executor, ordered
from evoopt.jobs.rule_worker import Chunk, WorkerSetup, make_worker
from evoopt.jobs.transfer import answer, as_arrays, received, sending
from evoopt.systems.optimizer.optimizer_space import OptimizerSpace
from evoopt.systems.optimizer.robust import RobustOperators
from evoopt.tasks import DataOptions
from evoopt.training.plan import TrainingPlan

KINDS = ("process", "dask")
WORKERS = (1, 2, 10, 100, 1000)
LEADER_MS = {"process": 0.34, "dask": 0.50}
"""The leader's own work per evaluation: what `benchmarks.load` measures (0.34 and 0.77 ms), less the overhead
of a chunk of 12, which the model counts by itself."""


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


def make_echo(setup: Any) -> Worker:
    """Gives back what it is given."""
    return lambda chunk: chunk


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


def exchange_ms_per_mb(megabytes: int = 20, rounds: int = 5) -> float:
    """Time per MB of members that travel there and back through files of this disk, least of some rounds."""
    weights = np.frombuffer(bytearray(os.urandom(megabytes * 1_000_000)), np.float32)[None]
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            begin = time.perf_counter()
            with sending(Path(folder)) as send:
                parcel = send({"weights": weights})
                received(answer(as_arrays(received(parcel)), parcel))
            times.append(time.perf_counter() - begin)
    return min(times) / megabytes * 1e3


def training_chunks(chunks: int, size: int, steps: int) -> list[Chunk]:
    """Chunks of random rules on the digits, as a first generation has them."""
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
    parser.add_argument(
        "--leader-ms",
        type=float,
        nargs=len(KINDS),
        default=[LEADER_MS[kind] for kind in KINDS],
        metavar=tuple(kind.upper() for kind in KINDS),
        help="Per evaluation, without the overhead of chunks; see benchmarks.load.",
    )
    parser.add_argument("--out", type=Path, help="JSON file for the figures.")
    options = parser.parse_args()
    chunks = training_chunks(options.chunks, options.size, options.steps)
    leader_ms = dict(zip(KINDS, options.leader_ms, strict=True))
    load_before = os.getloadavg()[0]
    found = [measure(kind, chunks, options.rounds) for kind in KINDS]
    files = exchange_ms_per_mb()
    print(measured_table(found, options.chunks), end="\n\n")
    print(f"Through a shared folder in place of messages: {files:.1f} ms per MB there and back.", end="\n\n")
    print(projected_table(found, options.size, leader_ms))
    if options.out:
        body: dict[str, Any] = {one.kind: asdict(one) for one in found}
        body |= {"exchange_ms_per_mb": files, "leader_ms_per_evaluation": leader_ms}
        body |= {"load_before": load_before, "load_after": os.getloadavg()[0]}
        options.out.write_text(json.dumps(body, indent=1) + "\n")


def measured_table(found: Sequence[Measured], chunks: int) -> str:
    """What was measured, as Markdown."""
    lines = [
        "| executor | overhead per chunk | per MB there and back | "
        f"{chunks} chunks, 1 worker | 2 workers | speed-up |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        first, second = one.seconds[1], one.seconds[2]
        lines.append(
            f"| {one.kind} | {one.overhead_ms:.2f} ms | {one.transfer_ms_per_mb:.1f} ms | {first:.1f} s | "
            f"{second:.1f} s | {first / second:.2f} |"
        )
    return "\n".join(lines)


def projected_table(found: Sequence[Measured], size: int, leader_ms: Mapping[str, float]) -> str:
    """What the model projects, as Markdown: speed-up over one worker, and efficiency."""
    lines = [
        "| executor | generation | " + " | ".join(f"{n:,} workers" for n in WORKERS[1:]) + " |",
        "|---|---|" + "---|" * len(WORKERS[1:]),
    ]
    for one in found:
        mean = statistics.fmean(one.service)
        for count, scale in ((1000, 1.0), (1000, 10.0), (10_000, 1.0)):
            rows = project(one, count, size, scale, leader_ms[one.kind])[1:]
            cells = " | ".join(f"{row['speed_up']:,.1f} ({row['efficiency']:.0%})" for row in rows)
            lines.append(f"| {one.kind} | {count:,} chunks of {mean * scale:.1f} s | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
