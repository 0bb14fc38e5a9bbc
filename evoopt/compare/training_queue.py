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
_Job = TrainingJob[ContenderChunk, tuple[str, ...]]


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
        memory: File that keeps results, so that an interrupted comparison goes on where it stopped, and one
            with further contenders trains only those; None keeps none. A training is found again if all that
            decides its result is the same, but for rounding, which its companions in a chunk decide too.
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
        self._choose_engines(trainings)
        keys = [self._key(one) for one in trainings]
        wanted = dict(zip(keys, trainings, strict=True))
        # Chunks go by the chunk, so that those of the others are what they were before an interruption.
        chunks = in_chunks(
            (((key in self._finished.known, one.group), key) for key, one in wanted.items()), self._chunk_size
        )
        run_trainings(
            self._executor,
            [self._job([wanted[key] for key in chunk], chunk) for _, chunk in chunks],
            self._finished,
            progress=lambda done, left: self._on_done(done),
        )
        return [self._finished.result(key) for key in keys]

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

    def _choose_engines(self, trainings: Sequence[Training]) -> None:
        if self._engine != "auto":
            return
        rules = ((one.group, one.member) for one in trainings if isinstance(one.member, UpdateRule))
        for (task, plan, *_), members in in_chunks(rules, self._chunk_size):
            key = f"{_ENGINE}{task}"
            if key not in self._finished.known:
                chunk = Chunk(task, members, plan, "auto")
                self._finished.remember({key: faster_engine(self._executor, chunk)[0]})

    def _engine_of(self, training: Training) -> EngineName:
        if not isinstance(training.member, UpdateRule):
            return "sequential"
        known = self._finished.known.get(f"{_ENGINE}{training.task}")
        return cast(EngineName, known) if self._engine == "auto" else self._engine

    def _key(self, training: Training) -> str:
        member = training.member
        plain = member.to_json() if isinstance(member, UpdateRule) else asdict(member)
        engine = self._engine_of(training)
        body = [training.task, plain, asdict(training.plan), engine, training.curves, self._context]
        return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()[:32]

    def _job(self, together: Sequence[Training], keys: tuple[str, ...]) -> _Job:
        one = together[0]
        members = tuple(training.member for training in together)
        return TrainingJob(
            ContenderChunk(one.task, members, one.plan, self._engine_of(one), one.curves), keys
        )


class _Finished:
    """Everything known so far by key, in a file of JSON lines if there is one.

    Args:
        path: The file.
        known: What is known before it is read.
    """

    def __init__(self, path: Path | None, known: dict[str, Any]) -> None:
        self._lines = None if path is None else JsonLines(path)
        self.known = known.copy()
        for record in self._lines or ():
            self.known.update(record)

    def __contains__(self, job: _Job) -> bool:
        return all(key in self.known for key in job.name)

    def __getitem__(self, job: _Job) -> list[TrainingResult]:
        return [self.result(key) for key in job.name]

    def result(self, key: str) -> TrainingResult:
        """What came of a training, in the same form now as after an interruption."""
        fields = self.known[key]
        numbers = with_nan(fields, "train_loss", "eval_loss", "metric")
        return TrainingResult(**{**numbers, "losses": tuple(fields["losses"])})

    def keep(self, job: _Job, results: Sequence[TrainingResult]) -> None:
        """Keep the results of a job."""
        values = {key: without_nan(asdict(result)) for key, result in zip(job.name, results, strict=True)}
        # A failure may be the machine's, so that the next attempt tries it again, in the same company.
        lasting = all(result.outcome != "failed" for result in results)
        self.remember(values, lasting)

    def remember(self, values: dict[str, Any], lasting: bool = True) -> None:
        """Know values from now on, and in later attempts if they are lasting."""
        self.known.update(values)
        if self._lines is not None and lasting:
            self._lines.append(values)
