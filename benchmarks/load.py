"""What the framework itself costs: many evaluations that take no time, and the run they leave.

``python -m benchmarks.load`` evaluates a population of 10,000 stubs for 20 generations and prints what each
generation cost in time, memory and disk; ``--resume RUN`` tells how long `show` and `resume` take on the run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evoopt.evolution.stages import Stage
from evoopt.execution import ChunkResult, Worker, make_executor
from evoopt.jobs.rule_worker import Chunk
from evoopt.runs import Run
from evoopt.systems.optimizer.config import OptimizerConfig, config_of
from evoopt.systems.optimizer.evaluator import Evaluator
from evoopt.systems.optimizer.optimizer_search import evolve_rules
from evoopt.training.plan import TrainingResult


def stub(chunk: Chunk) -> list[TrainingResult]:
    """Scores a rule by its learning rate, at once."""
    results = []
    for rule in chunk.rules:
        score = 1 / (1 + abs(rule.lr - 1e-3)) + 1e-9 * (chunk.plan.seed % 1000)
        results.append(TrainingResult("ok", "", 10, 1 - score, 1 - score, score, 1e-6))
    return results


def make_stub(setup: Any) -> Worker:
    return stub


class Meter:
    """Notes time, memory and disk after every generation."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._since = folder, time.perf_counter()
        self.rows: list[dict[str, float]] = []

    def __call__(self, stage: Stage) -> None:
        record, now = stage.record, time.perf_counter()
        assert record is not None, "every stage is a generation"
        size = sum(path.stat().st_size for path in self._folder.glob("run*.sqlite*"))
        row = {
            "generation": record["generation"],
            "ms_per_evaluation": (now - self._since) / record["trainings"] * 1e3,
            "memory_mb": _memory_mb(),
            "disk_mb": size / 1e6,
        }
        self.rows.append(row)
        print(
            f"{row['generation']:>4} {row['ms_per_evaluation']:>8.3f} ms/evaluation "
            f"{row['memory_mb']:>8.0f} MB {row['disk_mb']:>8.1f} MB on disk",
            flush=True,
        )
        self._since = time.perf_counter()


class Halt(Exception):
    """The first chunk would start now."""


class Halting:
    """An executor that does not begin."""

    def run(self, chunks: Sequence[Any]) -> Iterator[ChunkResult]:
        raise Halt
        yield

    def close(self) -> None:
        pass


def settings(population: int, generations: int, chunk_size: int) -> OptimizerConfig:
    search = {"population": population, "generations": generations, "compare": False, "elites": 10}
    evaluation = {"replicates": 1, "steps": 10, "engine": "sequential", "chunk_size": chunk_size}
    return OptimizerConfig().override({"search": search, "evaluation": evaluation})


def load(
    folder: Path, population: int, generations: int, executor: str, workers: int, chunk_size: int
) -> Meter:
    """Run the stub search; one generation more is configured, so that the run can be resumed."""
    config = settings(population, generations + 1, chunk_size)
    with (
        Run.create(folder, config) as run,
        make_executor(executor, make_stub, None, workers=workers) as made,  # type: ignore[arg-type]
    ):
        list(made.run([Chunk("digits", (), None, "sequential")] * workers))  # type: ignore[arg-type]
        meter = Meter(folder)

        def limited(stage: Stage) -> None:
            meter(stage)
            if len(meter.rows) == generations:
                raise Halt

        with contextlib.suppress(Halt):
            evolve_rules(run, config, Evaluator(config, made, run.store), limited)
    return meter


def resume_seconds(folder: Path) -> float:
    """Time from opening the run to the first chunk of its next generation."""
    start = time.perf_counter()
    with Run(folder, writable=True) as run:
        config = config_of(run)
        try:
            evolve_rules(run, config, Evaluator(config, Halting(), run.store), Meter(folder))
        except Halt:
            return time.perf_counter() - start
    raise AssertionError("the run is finished")


def _memory_mb() -> float:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1e3


def _command_seconds(*arguments: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--population", type=int, default=10_000)
    parser.add_argument("--generations", type=int, default=20)
    parser.add_argument("--chunk-size", type=int, default=12)
    parser.add_argument("--executor", default="process")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--resume", type=Path)
    options = parser.parse_args()
    if options.resume:
        print(f"resume  {resume_seconds(options.resume):.2f} s to the first chunk")
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch) / "run"
        meter = load(
            folder, options.population, options.generations, options.executor, options.workers,
            options.chunk_size,
        )  # fmt: skip
        mean = sum(row["ms_per_evaluation"] for row in meter.rows) / len(meter.rows)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(f"mean    {mean:.3f} ms/evaluation, peak memory {peak:.0f} MB, load {os.getloadavg()[0]:.1f}")
        print(f"show    {_command_seconds('evoopt', 'show', str(folder)):.2f} s, the command")
        print(f"        {_command_seconds('evoopt', 'spaces'):.2f} s of that for a command without a run")
        subprocess.run([sys.executable, "-m", "benchmarks.load", "--resume", str(folder)], check=True)


if __name__ == "__main__":
    main()
