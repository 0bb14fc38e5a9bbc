"""Scores individuals: decides which trainings are missing, has them run in chunks, and keeps every result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from evoopt.evolution.individual import RankedIndividual
from evoopt.execution import Executor
from evoopt.jobs.no_score import no_score
from evoopt.jobs.queue import in_chunks
from evoopt.jobs.records import FINAL_REPLICATE, Evaluation
from evoopt.jobs.rule_worker import Chunk, EngineName
from evoopt.jobs.training_jobs import TrainingJob, faster_engine, run_trainings
from evoopt.optim.rule import UpdateRule
from evoopt.runs.store import RunStore
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.scores import fitness_values
from evoopt.training.plan import TrainingPlan, TrainingResult, derive_seed

_SEEDS, _NOISE = 201, 202

OptimizerIndividual = RankedIndividual[OptimizerGenome]

_Run = tuple[str, int, int]
"""Task, replicate and repeat of a training."""


@dataclass(frozen=True)
class _Rows:
    """What the results of a chunk are kept under: see `Evaluation`."""

    generation: int
    chunk: int
    run: _Run
    keys: tuple[str, ...]


_Job = TrainingJob[Chunk, _Rows]


class Evaluator:
    """Gives individuals their fitness; what was trained once is never trained again.

    Args:
        config: The run's configuration.
        executor: Runs chunks.
        archive: Keeps evaluations; what it already holds is not trained again.
        on_chunk: Called with the number of trainings done and left whenever that changes.
    """

    def __init__(
        self,
        config: OptimizerConfig,
        executor: Executor,
        archive: RunStore,
        on_chunk: Callable[[int, int], None] = lambda done, left: None,
    ) -> None:
        self._config = config
        self._executor = executor
        self._archive = archive
        self._engines = archive.engines()
        self._on_chunk = on_chunk
        self._evaluations = _Evaluations(archive)

    def runs_of(self, ind: OptimizerIndividual, final: bool = False) -> list[Evaluation]:
        """The trainings that count for an individual: those of the search, or those of the final.

        It must be one of those that were scored last.
        """
        rows = self._evaluations.by_key.get(ind.genome.key, {}).values()
        counted = [row for row in rows if (row.replicate >= FINAL_REPLICATE) == final]
        last = max((row.repeat for row in counted), default=0)
        counted = [row for row in counted if row.repeat == last]
        return sorted(counted, key=lambda row: (row.task, row.replicate))

    def score(self, individuals: Sequence[OptimizerIndividual], generation: int) -> int:
        """Give every individual a fitness; returns the number of trainings this took.

        Raises:
            NoScoreError: On some task no training of the run has ever succeeded, or all of the generation
                failed for a reason other than divergence (a broken task, say); the message gives the reason.
        """
        if self._config.evaluation.fitness == "noise":
            for ind in individuals:
                path = (self._config.search.seed, _NOISE, generation, ind.id)
                ind.fitness.values = (0.0, float(np.random.default_rng(path).normal()), 0.0)
            return 0
        trained = self._train(individuals, self._runs_for(individuals, generation), generation)
        self._check_scores(individuals, generation)
        for ind in individuals:
            evaluation = self._config.evaluation
            ind.fitness.values = fitness_values(evaluation.fitness, self.runs_of(ind), evaluation.tasks)
        return trained

    def saved(self, individuals: Sequence[OptimizerIndividual], generation: int) -> dict[str, int]:
        """Trainings that those born for a generation did not need, as an older one had given the answer.

        Returns:
            How many by ``"form"``, and how many more by ``"steps"``, of a canonical form that was new.
        """
        born = [ind for ind in individuals if ind.born == generation]
        keys = json.dumps([ind.genome.key for ind in born])
        query = "SELECT id FROM individuals WHERE born < ? AND key IN (SELECT value FROM json_each(?))"
        older = self._archive.individuals([row[0] for row in self._archive.select(query, generation, keys)])
        known = {ind.genome.key for ind in older}
        forms = {ind.genome.rule().key for ind in older}
        saved = {"form": 0, "steps": 0}
        for ind in born:
            form = ind.genome.rule().key
            if ind.genome.key in known:
                count = ind.replicates * len(set(self._config.evaluation.tasks))
                saved["form" if form in forms else "steps"] += count
            known.add(ind.genome.key)
            forms.add(form)
        return saved

    def score_finalists(self, finalists: Sequence[OptimizerIndividual]) -> list[tuple[float, float, float]]:
        """Score on fresh seeds only, which owe nothing to selection; returns fitness values in order."""
        config = self._config
        runs = [
            (ind, (task, FINAL_REPLICATE + k, 0))
            for task in config.evaluation.tasks
            for k in range(config.search.final_replicates)
            for ind in finalists
        ]
        self._train(finalists, runs, config.search.generations)
        fitness, tasks = config.evaluation.fitness, config.evaluation.tasks
        return [fitness_values(fitness, self.runs_of(ind, final=True), tasks) for ind in finalists]

    def _runs_for(
        self, individuals: Sequence[OptimizerIndividual], generation: int
    ) -> list[tuple[OptimizerIndividual, _Run]]:
        again = self._config.search.elite_policy == "reevaluate"
        return [
            (ind, (task, replicate, generation if again and ind.survivor else 0))
            for task in self._config.evaluation.tasks
            for replicate in range(max((ind.replicates for ind in individuals), default=0))
            for ind in individuals
            if replicate < ind.replicates
        ]

    def _train(
        self,
        individuals: Sequence[OptimizerIndividual],
        runs: Sequence[tuple[OptimizerIndividual, _Run]],
        generation: int,
    ) -> int:
        self._evaluations.recall([ind.genome.key for ind in individuals])
        jobs = self._layout(runs, generation)
        run_trainings(
            self._executor,
            jobs,
            self._evaluations,
            forget=lambda task: self._archive.discard(generation, task),
            progress=self._on_chunk,
        )
        return sum(len(job.name.keys) for job in jobs)

    def _check_scores(self, individuals: Sequence[OptimizerIndividual], generation: int) -> None:
        evaluation, last = self._config.evaluation, self._config.search.generations - 1
        rows = [row for ind in individuals for row in self.runs_of(ind)]
        errors = []
        for task in evaluation.tasks:
            results = [row.result for row in rows if row.task == task]
            outcomes = {result.outcome for result in results}
            # Rules that were rejected before training say nothing about the task: others may follow.
            hopeless = outcomes != {"stopped"} or generation == last
            if "ok" not in outcomes and hopeless and not self._archive.has_succeeded(task):
                self._archive.discard(generation, task)
                errors.append(no_score(task, results, evaluation.max_loss, "evaluation.max_loss"))
        if errors:
            raise errors[0]

    def _layout(self, runs: Sequence[tuple[OptimizerIndividual, _Run]], generation: int) -> list[_Job]:
        members: list[tuple[_Run, str]] = []
        rules: dict[str, UpdateRule] = {}
        for ind, run in runs:
            key = ind.genome.key
            known = self._evaluations.by_key[key].get(run)
            # Rows of this very generation are what an interrupted attempt left: the layout of chunks must not
            # depend on them, since members of one chunk share their arithmetic.
            if known is None or known.generation == generation:
                members.append((run, key))
                if key not in rules:
                    rules[key] = ind.genome.rule().canonical()
        chunks = in_chunks(members, self._config.evaluation.chunk_size)
        return [
            TrainingJob(self._chunk(run, [rules[key] for key in keys]), _Rows(generation, k, run, keys))
            for k, (run, keys) in enumerate(chunks)
        ]

    def _chunk(self, run: _Run, rules: Sequence[UpdateRule]) -> Chunk:
        evaluation, (task, replicate, _) = self._config.evaluation, run
        plan = TrainingPlan(
            steps=evaluation.steps,
            seed=self.seed(task, replicate),
            batch_size=evaluation.batch_size or 0,
            drop_last=evaluation.drop_last,
            split="test" if evaluation.fitness == "paper" else "validation",
            max_loss=evaluation.max_loss,
            halve_at=evaluation.halve_at,
        )
        chunk = Chunk(task, tuple(rules), plan, evaluation.engine, evaluation.descent_filter)
        return replace(chunk, engine=self._engine(chunk)) if chunk.engine == "auto" else chunk

    def _engine(self, chunk: Chunk) -> EngineName:
        if chunk.task not in self._engines:
            self._engines[chunk.task] = faster_engine(self._executor, chunk)
            self._archive.save_engines(self._engines)
        return cast(EngineName, self._engines[chunk.task])

    def seed(self, task: str, replicate: int) -> int:
        """Seed of a training, from run seed, task and replicate only: never from worker, order or time."""
        if self._config.evaluation.seeds == "literal":
            return replicate
        # Only the file's name, not its folder: the same task file gives the same run on another machine.
        name = int.from_bytes(hashlib.sha256(Path(task).name.encode()).digest()[:4], "big")
        return derive_seed(self._config.search.seed, _SEEDS, name, replicate)


class _Evaluations:
    """Those of the individuals being scored only, so that memory does not grow with the run.

    Attributes:
        by_key: By key of the rule, then by run.
    """

    def __init__(self, archive: RunStore) -> None:
        self._archive = archive
        self.by_key: dict[str, dict[_Run, Evaluation]] = {}

    def recall(self, keys: Iterable[str]) -> None:
        """Be about other rules from now on."""
        known = self.by_key
        self.by_key = {key: known.get(key, {}) for key in keys}
        self._remember(self._archive.evaluations_of([key for key in self.by_key if key not in known]))

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
