"""Scores individuals: decides which trainings are missing, has them run in chunks, and keeps every result."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from evoopt.errors import EvooptError
from evoopt.evolution.individual import RankedIndividual
from evoopt.execution import ChunkResult, Executor
from evoopt.jobs.records import FINAL_REPLICATE, Evaluation
from evoopt.jobs.rule_worker import Chunk, EngineName, EngineProbe
from evoopt.optim.rule import UpdateRule
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.scores import fitness_values
from evoopt.training.plan import TrainingPlan, TrainingResult, derive_seed

_SEEDS, _NOISE = 201, 202

OptimizerIndividual = RankedIndividual[OptimizerGenome]


_Wanted = tuple[OptimizerIndividual, str, int, int]


@dataclass(frozen=True)
class _Unit:
    """A chunk with the names its results are kept under: (task, replicate, repeat) and the members' keys."""

    index: int
    name: tuple[str, int, int]
    keys: tuple[str, ...]
    chunk: Chunk


class Archive(Protocol):
    """Where evaluations are kept; `evoopt.runs` has one on disk."""

    def evaluations_of(self, keys: Collection[str]) -> Iterable[Evaluation]:
        """Evaluations of some rules so far, in the order they were made."""

    def add_evaluations(self, rows: Sequence[Evaluation]) -> None:
        """Keep the rows of one chunk, all or none."""

    def discard(self, generation: int, task: str) -> None:
        """Forget what a generation's trainings on a task gave."""

    def engines(self) -> dict[str, str]:
        """Training engine chosen per task so far; kept, because engines round differently."""

    def save_engines(self, engines: dict[str, str]) -> None:
        """Keep the training engines chosen so far."""


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
        archive: Archive,
        on_chunk: Callable[[int, int], None] = lambda done, left: None,
    ) -> None:
        self._config = config
        self._executor = executor
        self._archive = archive
        self._engines = archive.engines()
        self._on_chunk = on_chunk
        # Of the individuals being scored only, so that memory does not grow with the run.
        self._by_key: dict[str, dict[tuple[str, int, int], Evaluation]] = {}

    def runs_of(self, ind: OptimizerIndividual, final: bool = False) -> list[Evaluation]:
        """The trainings that count for an individual: those of the search, or those of the final.

        It must be one of those that were scored last.
        """
        rows = self._by_key.get(ind.genome.key, {})
        counted = [row for (_, replicate, _), row in rows.items() if (replicate >= FINAL_REPLICATE) == final]
        last = max((row.repeat for row in counted), default=0)
        counted = [row for row in counted if row.repeat == last]
        return sorted(counted, key=lambda row: (row.task, row.replicate))

    def score(self, individuals: Sequence[OptimizerIndividual], generation: int) -> int:
        """Give every individual a fitness; returns the number of trainings this took.

        Raises:
            EvooptError: Not one training of the generation succeeded because all failed for a reason other
                than divergence (a broken task, say); the message gives the reason.
        """
        if self._config.evaluation.fitness == "noise":
            for ind in individuals:
                path = (self._config.search.seed, _NOISE, generation, ind.id)
                ind.fitness.values = (0.0, float(np.random.default_rng(path).normal()), 0.0)
            return 0
        self._recall(individuals)
        trained = self._train(self._wanted(individuals, generation), generation)
        for ind in individuals:
            evaluation = self._config.evaluation
            ind.fitness.values = fitness_values(evaluation.fitness, self.runs_of(ind), evaluation.tasks)
        return trained

    def score_finalists(self, finalists: Sequence[OptimizerIndividual]) -> list[tuple[float, float, float]]:
        """Score on fresh seeds only, which owe nothing to selection; returns fitness values in order."""
        config = self._config
        wanted = [
            (ind, task, FINAL_REPLICATE + k, 0)
            for task in config.evaluation.tasks
            for k in range(config.search.final_replicates)
            for ind in finalists
        ]
        self._recall(finalists)
        self._train(wanted, config.search.generations)
        fitness, tasks = config.evaluation.fitness, config.evaluation.tasks
        return [fitness_values(fitness, self.runs_of(ind, final=True), tasks) for ind in finalists]

    def _recall(self, individuals: Sequence[OptimizerIndividual]) -> None:
        keys = dict.fromkeys(ind.genome.key for ind in individuals)
        known = self._by_key
        self._by_key = {key: known.get(key, {}) for key in keys}
        for row in self._archive.evaluations_of([key for key in keys if key not in known]):
            self._remember(row)

    def _wanted(self, individuals: Sequence[OptimizerIndividual], generation: int) -> list[_Wanted]:
        again = self._config.search.elite_policy == "reevaluate"
        return [
            (ind, task, replicate, generation if again and ind.survivor else 0)
            for task in self._config.evaluation.tasks
            for replicate in range(max((ind.replicates for ind in individuals), default=0))
            for ind in individuals
            if replicate < ind.replicates
        ]

    def _train(self, wanted: Sequence[_Wanted], generation: int) -> int:
        units = self._layout(wanted, generation)
        todo = [unit for unit in units if not all(unit.name in self._by_key[key] for key in unit.keys)]
        left = sum(len(unit.keys) for unit in todo)
        total = sum(len(unit.keys) for unit in units)
        self._on_chunk(total - left, left)
        lost = []
        for result in self._executor.run([unit.chunk for unit in todo]):
            unit = todo[result.index]
            if result.value is None and len(unit.keys) > 1:
                lost.append(unit)
                continue
            left -= len(unit.keys)
            self._keep(unit, generation, result.value or [_failure(result)])
            self._on_chunk(len(unit.keys), left)
        for unit in lost:
            # One member took its whole chunk down: train each alone, so that only that one is recorded as
            # failed.
            alone = [replace(unit.chunk, rules=(rule,)) for rule in unit.chunk.rules]
            results = {result.index: result for result in self._executor.run(alone)}
            values = [results[k].value or [_failure(results[k])] for k in range(len(alone))]
            left -= len(unit.keys)
            self._keep(unit, generation, [value[0] for value in values])
            self._on_chunk(len(unit.keys), left)
        self._refuse_broken_task(units, generation)
        return total

    def _layout(self, wanted: Sequence[_Wanted], generation: int) -> list[_Unit]:
        groups: dict[tuple[str, int, int], dict[str, None]] = {}
        rules: dict[str, UpdateRule] = {}
        for ind, task, replicate, repeat in wanted:
            name, key = (task, replicate, repeat), ind.genome.key
            known = self._by_key[key].get(name)
            # Rows of this very generation are what an interrupted attempt left: the layout of chunks must not
            # depend on them, since members of one chunk share their arithmetic.
            if known is None or known.generation == generation:
                groups.setdefault(name, {})[key] = None
                if key not in rules:
                    rules[key] = ind.genome.rule().canonical()
        size = self._config.evaluation.chunk_size
        units: list[_Unit] = []
        for name, group in groups.items():
            keys, seed = tuple(group), self.seed(name[0], name[1])
            for start in range(0, len(keys), size):
                members = keys[start : start + size]
                chunk = self._chunk(name[0], seed, tuple(rules[key] for key in members))
                units.append(_Unit(len(units), name, members, chunk))
        return units

    def _keep(self, unit: _Unit, generation: int, results: Sequence[TrainingResult]) -> None:
        chunk, (task, replicate, repeat) = unit.chunk, unit.name
        rows = [
            Evaluation(
                generation, unit.index, k, key, task, replicate, repeat, chunk.plan.seed, chunk.engine, result
            )
            for k, (key, result) in enumerate(zip(unit.keys, results, strict=True))
        ]
        self._archive.add_evaluations(rows)
        for row in rows:
            self._remember(row)

    def _refuse_broken_task(self, units: Sequence[_Unit], generation: int) -> None:
        for task in self._config.evaluation.tasks:
            results = [
                self._by_key[key][unit.name].result
                for unit in units
                for key in unit.keys
                if unit.name[0] == task
            ]
            if results and all(result.outcome == "failed" for result in results):
                # Not a finding about any rule: forget it, so that a resumed run tries again.
                self._archive.discard(generation, task)
                raise EvooptError(f"every training on task {task!r} failed: {results[0].reason}")

    def _chunk(self, task: str, seed: int, rules: tuple[UpdateRule, ...]) -> Chunk:
        evaluation = self._config.evaluation
        plan = TrainingPlan(
            steps=evaluation.steps,
            seed=seed,
            batch_size=evaluation.batch_size or 0,
            drop_last=evaluation.drop_last,
            split="test" if evaluation.fitness == "paper" else "validation",
            halve_at=evaluation.halve_at,
        )
        engine: EngineName = evaluation.engine
        if engine == "auto":
            engine = self._engine(task, Chunk(task, rules, plan, "auto"))
        return Chunk(task, rules, plan, engine, evaluation.descent_filter)

    def _engine(self, task: str, chunk: Chunk) -> EngineName:
        if task not in self._engines:
            (answer,) = self._executor.run([EngineProbe(chunk)])
            if answer.value is None:
                raise EvooptError(f"task {task!r} cannot be trained: {answer.error}")
            self._engines[task] = answer.value[0]
            self._archive.save_engines(self._engines)
        return self._engines[task]  # type: ignore[return-value]

    def seed(self, task: str, replicate: int) -> int:
        """Seed of a training, from run seed, task and replicate only: never from worker, order or time."""
        if self._config.evaluation.seeds == "literal":
            return replicate
        # Only the file's name, not its folder: the same task file gives the same run on another machine.
        name = int.from_bytes(hashlib.sha256(Path(task).name.encode()).digest()[:4], "big")
        return derive_seed(self._config.search.seed, _SEEDS, name, replicate)

    def _remember(self, row: Evaluation) -> None:
        self._by_key[row.key][row.task, row.replicate, row.repeat] = row


def _failure(result: ChunkResult) -> TrainingResult:
    return TrainingResult.unsuccessful("failed", result.error or "no result", seconds=result.seconds)
