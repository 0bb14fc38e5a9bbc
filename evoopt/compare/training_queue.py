"""Has members of contenders trained: lays them out in chunks, and remembers results in a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from evoopt.compare.contender import Member
from evoopt.compare.contender_jobs import ContenderChunk, Cost, CostProbe
from evoopt.compare.result import with_nan, without_nan
from evoopt.execution import Executor
from evoopt.jobs.json_lines import JsonLines
from evoopt.jobs.queue import in_chunks, run_jobs
from evoopt.jobs.rule_worker import Chunk, EngineName
from evoopt.jobs.training_jobs import TrainingJob, faster_engine, run_trainings
from evoopt.optim.rule import UpdateRule
from evoopt.training.plan import TrainingPlan, TrainingResult

_ENGINE = "engine:"

_Group = tuple[str, TrainingPlan, bool, Member | None]
_Job = TrainingJob[ContenderChunk, str]


@dataclass(frozen=True)
class Training:
    """One member, trained on one task as planned."""

    task: str
    member: Member
    plan: TrainingPlan
    curves: bool = False

    @property
    def group(self) -> _Group:
        """Trainings of equal groups share chunks: rules of one plan, but never an optimizer class."""
        return self.task, self.plan, self.curves, None if isinstance(self.member, UpdateRule) else self.member


class TrainingQueue:
    """Runs trainings on an executor whose workers come from `evoopt.jobs.rule_worker.make_worker`.

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
        self._context = context
        self._on_done = on_done
        known = {f"{_ENGINE}{task}": name for task, name in (engines or {}).items()}
        self._finished = _Finished(memory, known)

    def train(self, trainings: Sequence[Training]) -> list[TrainingResult]:
        """Train; returns results in the order asked for. Equal trainings are done once.

        Raises:
            EvooptError: All trainings on a task failed, for a reason other than divergence.
        """
        chunks = in_chunks(((one.group, one.member) for one in trainings), self._chunk_size)
        results = run_trainings(
            self._executor,
            [self._job(group, members) for group, members in chunks],
            self._finished,
            progress=lambda done, left: self._on_done(done),
        )
        by_training = {
            (group, member): result
            for (group, members), of_chunk in zip(chunks, results, strict=True)
            for member, result in zip(members, of_chunk, strict=True)
        }
        return [by_training[one.group, one.member] for one in trainings]

    def engines(self) -> dict[str, str]:
        """Training engine of each task so far."""
        known = self._finished.known
        return {key.removeprefix(_ENGINE): known[key] for key in known if key.startswith(_ENGINE)}

    def costs(self, task: str, members: Sequence[Member]) -> list[Cost]:
        """What an optimizer step of each member costs on the task's model.

        Raises:
            EvooptError: It cannot be measured.
        """
        failure = f"the cost of a step on task {task!r} cannot be measured"
        probe = [CostProbe(task, tuple(members))]
        return cast(list[Cost], run_jobs(self._executor, probe, failure=failure)[0])

    def _job(self, group: _Group, members: tuple[Member, ...]) -> _Job:
        task, plan, curves, alone = group
        rules = tuple(member for member in members if isinstance(member, UpdateRule))
        engine = self._engine_for(Chunk(task, rules, plan, self._engine)) if alone is None else "sequential"
        chunk = ContenderChunk(task, members, plan, engine, curves)
        plain = [m.to_json() if isinstance(m, UpdateRule) else asdict(m) for m in members]
        body = [task, plain, asdict(plan), engine, curves, self._context]
        digest = hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()
        return TrainingJob(chunk, digest[:32])

    def _engine_for(self, chunk: Chunk) -> EngineName:
        key = f"{_ENGINE}{chunk.task}"
        if chunk.engine != "auto":
            return chunk.engine
        if key not in self._finished.known:
            self._finished.remember(key, faster_engine(self._executor, chunk)[0])
        return cast(EngineName, self._finished.known[key])


class _Finished:
    """Everything known so far by key, in a file of JSON lines if there is one.

    Args:
        path: The file.
        known: What is known before it is read.
    """

    def __init__(self, path: Path | None, known: dict[str, Any]) -> None:
        self._lines = None if path is None else JsonLines(path)
        self.known = known | {record["key"]: record["value"] for record in self._lines or ()}

    def __contains__(self, job: _Job) -> bool:
        return job.name in self.known

    def __getitem__(self, job: _Job) -> list[TrainingResult]:
        return [_result(fields) for fields in self.known[job.name]]

    def keep(self, job: _Job, results: Sequence[TrainingResult]) -> None:
        """Keep the results of a job."""
        # A failure may be the machine's, so that the next attempt tries it again.
        lasting = all(result.outcome != "failed" for result in results)
        self.remember(job.name, [without_nan(asdict(result)) for result in results], lasting)

    def remember(self, key: str, value: Any, lasting: bool = True) -> None:
        """Know a value from now on, and in later attempts if it is lasting."""
        self.known[key] = value
        if self._lines is not None and lasting:
            self._lines.append({"key": key, "value": value})


def _result(fields: dict[str, Any]) -> TrainingResult:
    numbers = with_nan(fields, "train_loss", "eval_loss", "metric")
    return TrainingResult(**{**numbers, "losses": tuple(fields["losses"])})
