"""Has trainings done: lays them out in jobs, runs the jobs, and remembers results in a file."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from evoopt.compare.contender import Member
from evoopt.compare.work import Cost, CostJob, Job, probe
from evoopt.errors import EvooptError
from evoopt.execution import ChunkResult, Executor
from evoopt.jobs.rule_worker import EngineName
from evoopt.optim.rule import UpdateRule
from evoopt.training.plan import TrainingPlan, TrainingResult


@dataclass(frozen=True)
class Wanted:
    """One training that is asked for."""

    task: str
    member: Member
    plan: TrainingPlan
    curves: bool = False


class Laboratory:
    """Runs trainings on an executor whose workers come from `evoopt.compare.work.make_worker`.

    Args:
        executor: Where jobs run.
        engine: How rules are trained; ``"auto"`` has a worker measure it once per task.
        chunk_size: Rules per job.
        memory: File that keeps results, so that an interrupted comparison goes on where it stopped; None
            keeps none. A training is found again only if everything that decides its result is the same.
        context: What decides results besides the jobs (data options, device, threads).
        engines: Training engine per task where ``"auto"`` has been decided already.
        on_done: Called with the number of trainings finished whenever that changes.
    """

    def __init__(
        self,
        executor: Executor,
        engine: EngineName = "auto",
        chunk_size: int = 16,
        memory: Path | None = None,
        context: Any = None,
        engines: Mapping[str, str] | None = None,
        on_done: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._executor = executor
        self._engine = engine
        self._chunk_size = chunk_size
        self._memory = memory
        self._context = context
        self._on_done = on_done
        self._known: dict[str, Any] = {f"engine:{task}": name for task, name in (engines or {}).items()}
        if memory is not None and memory.exists():
            for line in memory.read_text(encoding="utf-8").splitlines():
                try:
                    record = json.loads(line)
                except ValueError:  # a line that an interruption cut short
                    continue
                self._known[record["key"]] = record["value"]

    def train(self, wanted: Sequence[Wanted]) -> list[TrainingResult]:
        """Train; returns results in the order asked for. Equal trainings are done once."""
        jobs = self._layout(wanted)
        self._run([job for job, _ in jobs])
        results: list[TrainingResult | None] = [None] * len(wanted)
        for job, places in jobs:
            for k, value in zip(places, self._known[self._key(job)], strict=True):
                for place in k:
                    results[place] = _result(value)
        found = [result for result in results if result is not None]
        _refuse_broken_task(wanted, found)
        return found

    def engines(self) -> dict[str, str]:
        """Training engine of each task so far."""
        start = "engine:"
        return {key[len(start) :]: value for key, value in self._known.items() if key.startswith(start)}

    def costs(self, task: str, members: Sequence[Member]) -> list[Cost]:
        """What an optimizer step of each member costs on the task's model."""
        (answer,) = self._executor.run([CostJob(task, tuple(members))])
        if answer.value is None:
            raise EvooptError(f"the cost of a step on task {task!r} cannot be measured: {answer.error}")
        return cast(list[Cost], answer.value)

    def _layout(self, wanted: Sequence[Wanted]) -> list[tuple[Job, list[list[int]]]]:
        groups: dict[tuple[Any, ...], dict[Member, list[int]]] = {}
        for k, item in enumerate(wanted):
            alone = None if isinstance(item.member, UpdateRule) else item.member
            group = groups.setdefault((item.task, item.plan, item.curves, alone), {})
            group.setdefault(item.member, []).append(k)
        jobs = []
        for (task, plan, curves, alone), members in groups.items():
            names = list(members)
            for start in range(0, len(names), self._chunk_size):
                chunk = tuple(names[start : start + self._chunk_size])
                job = Job(task, chunk, plan, "sequential", curves)
                if alone is None:
                    job = replace(job, engine=self._engine_of(job))
                jobs.append((job, [members[name] for name in chunk]))
        return jobs

    def _run(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if self._key(job) in self._known:
                self._on_done(len(job.members))
        todo = [job for job in jobs if self._key(job) not in self._known]
        lost = []
        for answer in self._executor.run(todo):
            job = todo[answer.index]
            if answer.value is not None:
                self._keep(job, answer.value)
            elif len(job.members) == 1:
                self._keep(job, [_first(answer)])
            else:
                lost.append(job)
        for job in lost:  # one member took its whole job down: train each alone
            alone = [replace(job, members=(member,)) for member in job.members]
            answers = {answer.index: answer for answer in self._executor.run(alone)}
            self._keep(job, [_first(answers[k]) for k in range(len(alone))])

    def _keep(self, job: Job, results: Sequence[TrainingResult]) -> None:
        # A failure may be the machine's, so that the next attempt tries it again.
        lasting = all(result.outcome != "failed" for result in results)
        self._remember(self._key(job), [_plain(result) for result in results], lasting)
        self._on_done(len(results))

    def _remember(self, key: str, value: Any, lasting: bool = True) -> None:
        self._known[key] = value
        if self._memory is not None and lasting:
            with self._memory.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "value": value}) + "\n")

    def _engine_of(self, job: Job) -> EngineName:
        if self._engine != "auto":
            return self._engine
        key = f"engine:{job.task}"
        if key not in self._known:
            (answer,) = self._executor.run([probe(job)])
            if answer.value is None:
                raise EvooptError(f"task {job.task!r} cannot be trained: {answer.error}")
            self._remember(key, answer.value[0])
        return cast(EngineName, self._known[key])

    def _key(self, job: Job) -> str:
        members = [m.to_json() if isinstance(m, UpdateRule) else asdict(m) for m in job.members]
        body = [job.task, members, asdict(job.plan), job.engine, job.curves, self._context]
        return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _first(answer: ChunkResult) -> TrainingResult:
    if answer.value is None:
        return TrainingResult.unsuccessful("failed", answer.error or "no result", seconds=answer.seconds)
    return cast(TrainingResult, answer.value[0])


def _plain(result: TrainingResult) -> dict[str, Any]:
    fields = asdict(result)
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields.items()}


def _result(fields: dict[str, Any]) -> TrainingResult:
    numbers = {k: math.nan if fields[k] is None else fields[k] for k in ("train_loss", "eval_loss", "metric")}
    return TrainingResult(**{**fields, **numbers, "losses": tuple(fields["losses"])})


def _refuse_broken_task(wanted: Sequence[Wanted], results: Sequence[TrainingResult]) -> None:
    for task in dict.fromkeys(item.task for item in wanted):
        own = [result for item, result in zip(wanted, results, strict=True) if item.task == task]
        if all(result.outcome == "failed" for result in own):
            raise EvooptError(f"every training on task {task!r} failed: {own[0].reason}")
