"""An executor that scores jobs by a formula, so that everything around training can be tested quickly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from evoopt.compare.contender import Contender, rule_contender
from evoopt.compare.contender_jobs import ContenderChunk, Cost, CostProbe
from evoopt.compare.optimizer_classes import ClassMember
from evoopt.compare.result import Comparison, Participant, Scores, TaskFacts, Tuned
from evoopt.execution import ChunkResult
from evoopt.jobs.rule_worker import EngineProbe
from evoopt.optim import PRESETS
from evoopt.training.plan import TrainingResult


def member_lr(member: Any) -> float:
    return dict(member.arguments)["lr"] if isinstance(member, ClassMember) else member.lr


def formula_result(member: Any, job: ContenderChunk, best_lr: float = 3e-3) -> TrainingResult:
    """Best at ``best_lr``; diverges far above it; a little noise from the seed."""
    lr = member_lr(member)
    if lr > 1:
        return TrainingResult.unsuccessful("diverged", "loss is nan", steps=3)
    noise = np.random.default_rng(job.plan.seed).normal(0, 0.005)
    metric = 0.9 - 0.05 * math.log10(lr / best_lr) ** 2 + noise
    curve = tuple(np.linspace(2, 1 - metric, 20)) if job.curves else ()
    return TrainingResult("ok", "", job.plan.steps, 1 - metric, 1 - metric, metric, 0.001, curve)


class FormulaExecutor:
    """Records jobs; raises ``KeyboardInterrupt`` before job number ``stop_at``."""

    def __init__(self, result: Any = formula_result, stop_at: int | None = None) -> None:
        self.jobs: list[ContenderChunk] = []
        self._result = result
        self._stop_at = stop_at

    def run(self, chunks: Sequence[Any]) -> Iterator[ChunkResult]:
        for index in reversed(range(len(chunks))):
            job = chunks[index]
            if isinstance(job, EngineProbe):
                yield ChunkResult(index, ("sequential", {}), None, 1, 0.0)
            elif isinstance(job, CostProbe):
                yield ChunkResult(index, [Cost(10.0, 80, 10, 1000) for _ in job.members], None, 1, 0.0)
            else:
                if self._stop_at is not None and len(self.jobs) >= self._stop_at:
                    raise KeyboardInterrupt
                self.jobs.append(job)
                yield ChunkResult(index, [self._result(member, job) for member in job.members], None, 1, 0.0)

    def close(self) -> None:
        pass

    def __enter__(self) -> FormulaExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def preset_contender(name: str, **about: Any) -> Contender:
    ranges = {"beta1": (0.8, 0.98)} if PRESETS[name].use_m else {}
    return rule_contender(name, PRESETS[name], ranges, **about)


def comparison_of(scores: Mapping[str, Mapping[str, Sequence[float]]], reference: str = "adam") -> Comparison:
    """A comparison with given test metrics by task and contender; the first contenders are candidates."""
    names = list(next(iter(scores.values())))
    return Comparison(
        protocol={"steps": 100, "trials": 6, "tuning_seeds": 1, "seeds": 10, "tasks": list(scores)},
        reference=reference,
        participants=tuple(
            Participant(name, "baseline" if name == reference else "candidate", "w -= g") for name in names
        ),
        tuning={
            task: {name: Tuned("lr 1", {"lr": 1.0}, 0.9, 6, 0, False) for name in names} for task in scores
        },
        scores={
            task: {
                name: Scores(
                    metric=tuple(values),
                    eval_loss=tuple(1 - v for v in values),
                    train_loss=tuple(2 - v for v in values),
                    outcomes=tuple("ok" if math.isfinite(v) else "diverged" for v in values),
                    curves=tuple((2.0, 1.0, 2.0 - v) if math.isfinite(v) else () for v in values),
                    step_us=1.0,
                    state_bytes=8,
                )
                for name, values in own.items()
            }
            for task, own in scores.items()
        },
        facts={task: TaskFacts(10, 1000, "batched") for task in scores},
    )
