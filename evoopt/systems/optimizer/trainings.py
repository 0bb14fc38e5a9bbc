"""Which trainings of rules are missing, how they are laid out in chunks, and where their results are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from evoopt.execution import Executor
from evoopt.jobs.queue import in_chunks
from evoopt.jobs.records import FINAL_REPLICATE, Evaluation
from evoopt.jobs.rule_worker import Chunk, EngineName
from evoopt.jobs.training_jobs import TrainingJob, faster_engine, run_trainings
from evoopt.optim.rule import UpdateRule
from evoopt.runs.store import RunStore
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.training.plan import TrainingPlan, TrainingResult, derive_seed, task_number

_SEEDS = 201
_STAGE = 1_000_000
"""Chunks of a generation's stages are numbered from multiples of this."""

RunKey = tuple[str, int, int]
"""Task, replicate and repeat of a training, as in `Evaluation`."""


@dataclass(frozen=True)
class _Rows:
    """What the results of a chunk are kept under: see `Evaluation`."""

    generation: int
    chunk: int
    run: RunKey
    keys: tuple[str, ...]


_Job = TrainingJob[Chunk, _Rows]


class Trainings:
    """Has rules trained; what was trained once is never trained again.

    Args:
        config: The run's configuration.
        executor: Runs chunks.
        archive: Keeps evaluations; what it already holds is not trained again.
        on_chunk: Called with the number of trainings done and left whenever that changes.
        on_timed: Called with the milliseconds that a step of one training on a task was measured to take.
    """

    def __init__(
        self,
        config: OptimizerConfig,
        executor: Executor,
        archive: RunStore,
        on_chunk: Callable[[int, int], None] = lambda done, left: None,
        on_timed: Callable[[str, float], None] = lambda task, ms: None,
    ) -> None:
        self._config = config
        self._executor = executor
        self._archive = archive
        self._engines = archive.engines()
        self._on_chunk, self._on_timed = on_chunk, on_timed
        self._evaluations = _Evaluations(archive)

    def of(self, genome: OptimizerGenome) -> list[Evaluation]:
        """Every training of one of the rules that are remembered."""
        return list(self._evaluations.by_key.get(genome.key, {}).values())

    def runs(
        self, genome: OptimizerGenome, tasks: Sequence[str], final: bool = False, rung: int | None = None
    ) -> list[Evaluation]:
        """The trainings of a rule on some tasks, by task and seed: of the search, or of the final.

        Args:
            genome: The rule.
            tasks: Names of the tasks.
            final: Whether those of the final are meant.
            rung: Which of the search's, see `Evaluation.repeat`; by default the longest there are.
        """
        counted = [
            row
            for row in self.of(genome)
            if row.task in tasks and (row.replicate >= FINAL_REPLICATE) == final
        ]
        last = max((row.repeat for row in counted), default=0) if rung is None else rung
        counted = [row for row in counted if row.repeat == last]
        return sorted(counted, key=lambda row: (row.task, row.replicate))

    def on_own_tasks(self, genomes: Mapping[str, OptimizerGenome], tasks: Iterable[str]) -> list[Evaluation]:
        """Every training, on a task, of the rule that belongs to it."""
        return [row for task in tasks for row in self.of(genomes[task]) if row.task == task]

    def remember(self, genomes: Iterable[OptimizerGenome]) -> None:
        """Be about these rules, and no others, until more are trained: memory must not grow with the run."""
        self._evaluations.recall([genome.key for genome in genomes])

    def train(self, wanted: Sequence[tuple[OptimizerGenome, RunKey]], generation: int, stage: int = 0) -> int:
        """Train what is missing; returns the number of trainings this took.

        Args:
            wanted: Rules and what to train them on; those of one run stand together.
            generation: What for, see `Evaluation`.
            stage: Number of the call among those of its generation.
        """
        self._evaluations.add([genome.key for genome, _ in wanted])
        jobs = self._layout(wanted, generation, stage)
        run_trainings(
            self._executor,
            jobs,
            self._evaluations,
            states=self._archive.states,
            forget=lambda task: self._archive.discard(generation, task),
            progress=self._on_chunk,
        )
        return sum(len(job.name.keys) for job in jobs)

    def seed(self, task: str, replicate: int) -> int:
        """Seed of a training, from run seed, task and replicate only: never from worker, order or time."""
        if self._config.evaluation.seeds == "literal":
            return replicate
        return derive_seed(self._config.search.seed, _SEEDS, task_number(task), replicate)

    def _layout(
        self, wanted: Sequence[tuple[OptimizerGenome, RunKey]], generation: int, stage: int
    ) -> list[_Job]:
        members: list[tuple[RunKey, str]] = []
        rules: dict[str, UpdateRule] = {}
        for genome, run in wanted:
            key = genome.key
            known = self._evaluations.by_key[key].get(run)
            # Rows of this very stage are what an interrupted attempt left: the layout of chunks must not
            # depend on them, since members of one chunk share their arithmetic.
            if known is None or (known.generation, known.chunk // _STAGE) == (generation, stage):
                members.append((run, key))
                if key not in rules:
                    rules[key] = genome.rule().canonical()
        chunks = in_chunks(members, self._config.evaluation.chunk_size)
        return [
            TrainingJob(
                self._chunk(run, [rules[key] for key in keys]),
                _Rows(generation, stage * _STAGE + k, run, keys),
            )
            for k, (run, keys) in enumerate(chunks)
        ]

    def _chunk(self, run: RunKey, rules: Sequence[UpdateRule]) -> Chunk:
        evaluation, (task, replicate, repeat) = self._config.evaluation, run
        plan = TrainingPlan(
            steps=evaluation.steps_at(repeat),
            seed=self.seed(task, replicate),
            batch_size=evaluation.batch_size or 0,
            drop_last=evaluation.drop_last,
            split="test" if evaluation.fitness == "paper" else "validation",
            max_loss=evaluation.max_loss,
            halve_at=evaluation.halve_at,
        )
        curves = evaluation.target in ("steps", "area")
        chunk = Chunk(task, tuple(rules), plan, evaluation.engine, evaluation.descent_filter, curves)
        return replace(chunk, engine=self._engine(chunk)) if chunk.engine == "auto" else chunk

    def _engine(self, chunk: Chunk) -> EngineName:
        if chunk.task not in self._engines:
            self._engines[chunk.task], ms = faster_engine(self._executor, chunk)
            self._on_timed(chunk.task, ms)
            self._archive.save_engines(self._engines)
        return cast(EngineName, self._engines[chunk.task])


class _Evaluations:
    """Those of the rules that are remembered.

    Attributes:
        by_key: By key of the rule, then by run.
    """

    def __init__(self, archive: RunStore) -> None:
        self._archive = archive
        self.by_key: dict[str, dict[RunKey, Evaluation]] = {}

    def recall(self, keys: Iterable[str]) -> None:
        """Be about other rules from now on."""
        known, keys = self.by_key, list(keys)
        self.by_key = {key: known[key] for key in keys if key in known}
        self.add(keys)

    def add(self, keys: Iterable[str]) -> None:
        """Be about these rules, too."""
        new = [key for key in dict.fromkeys(keys) if key not in self.by_key]
        self.by_key |= {key: {} for key in new}
        self._remember(self._archive.evaluations_of(new))

    def __contains__(self, job: _Job) -> bool:
        return all(job.name.run in self.by_key[key] for key in job.name.keys)

    def __getitem__(self, job: _Job) -> list[TrainingResult]:
        return [self.by_key[key][job.name.run].result for key in job.name.keys]

    def keep(self, job: _Job, results: list[TrainingResult]) -> None:
        """Keep the results of a chunk in the archive, all or none."""
        chunk, name = job.chunk, job.name
        rows = [
            Evaluation(name.generation, name.chunk, k, key, *name.run, chunk.plan.seed, chunk.engine, result)
            for k, (key, result) in enumerate(zip(name.keys, results, strict=True))
        ]
        self._archive.add_evaluations(rows)
        self._remember(rows)

    def _remember(self, rows: Iterable[Evaluation]) -> None:
        for row in rows:
            self.by_key[row.key][row.task, row.replicate, row.repeat] = row
