"""Scores individuals: which trainings a fitness needs, at which lengths and rates, and what follows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from evoopt.evolution.individual import Fitness
from evoopt.execution import Executor
from evoopt.jobs.records import Evaluation
from evoopt.runs.store import RunStore
from evoopt.systems.optimizer.broken_tasks import refuse_broken_tasks
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome, OptimizerIndividual
from evoopt.systems.optimizer.racing import clearly_worse
from evoopt.systems.optimizer.rate_axis import RateAxis
from evoopt.systems.optimizer.scores import SPREAD_SEEDS, Gains, fitness_values, task_scores
from evoopt.systems.optimizer.trainings import RunKey, Trainings
from evoopt.systems.optimizer.validation import Validation

_NOISE = 202
_BASELINE_GENERATION = -1
_ROUND = 1000  # stages of a generation between two rounds of a race
_Tried = dict[int, Mapping[str, Sequence[OptimizerGenome]]]
"""Variants of each individual that are tried on each task, by its id."""


class Evaluator:
    """Gives individuals their fitness; what was trained once is never trained again.

    Attributes:
        validation: Scores that select nothing.
        spared: Trainings that racing spared the generation that was scored last.

    Args:
        config: The run's configuration.
        executor: Runs chunks.
        archive: Keeps evaluations; what it already holds is not trained again.
        on_chunk: Called with the number of trainings done and left whenever that changes.
        baseline: The tuned baseline by task, for a configuration that is judged by gain.
        on_timed: See `Trainings`.
    """

    def __init__(
        self,
        config: OptimizerConfig,
        executor: Executor,
        archive: RunStore,
        on_chunk: Callable[[int, int], None] = lambda done, left: None,
        baseline: Mapping[str, OptimizerGenome] | None = None,
        on_timed: Callable[[str, float], None] = lambda task, ms: None,
    ) -> None:
        self._config = config
        self._archive = archive
        self._trainings = Trainings(config, executor, archive, on_chunk, on_timed)
        evaluation, ranges = config.evaluation, config.genome.space().ranges
        self._axis = RateAxis(
            evaluation.rates,
            evaluation.decays,
            evaluation.rate_factor,
            ranges["lr_log10"],
            ranges["wd_log10"],
        )
        self._at: dict[int, dict[str, OptimizerGenome]] = {}
        self._raced: dict[int, int] = {}
        self.spared = 0
        self._baseline = baseline or {}
        self._gains = self._baseline_gains() if baseline else None
        self.validation = Validation(config, self._trainings, self._axis, baseline, self._gains)

    def runs_of(self, ind: OptimizerIndividual) -> list[Evaluation]:
        """The trainings that count for an individual, which must be one of those that were scored last."""
        tasks, at = dict.fromkeys(self._config.evaluation.tasks), self._at.get(ind.id, {})
        return [row for task in tasks for row in self._trainings.runs(at.get(task, ind.genome), (task,))]

    def task_scores(self, ind: OptimizerIndividual) -> dict[str, float | None]:
        """Score per task, None where no training ended well."""
        evaluation = self._config.evaluation
        return task_scores(evaluation.fitness, self.runs_of(ind), evaluation.tasks, self._gains)

    def score(self, individuals: Sequence[OptimizerIndividual], generation: int) -> int:
        """Give every individual a fitness and the best rate tried; returns the number of trainings this took.

        Raises:
            NoScoreError: On some task no training of the run has ever succeeded, or all of the generation
                failed for a reason other than divergence (a broken task, say); the message gives the reason.
        """
        if self._config.evaluation.fitness == "noise":
            for ind in individuals:
                path = (self._config.search.seed, _NOISE, generation, ind.id)
                ind.fitness.values = (0.0, float(np.random.default_rng(path).normal()), 0.0)
            return 0
        variants = {ind.id: self._axis.variants(ind.genome) for ind in individuals}
        everything = [genome for of_one in variants.values() for genome in of_one]
        self._trainings.remember(everything)
        tasks = self._config.evaluation.tasks
        self._at, self._raced, self.spared = {}, {}, 0
        trained = self._climb(
            individuals, {k: dict.fromkeys(tasks, of_one) for k, of_one in variants.items()}, generation
        )
        rows = [row for one in everything for row in self._trainings.runs(one, tasks)]
        refuse_broken_tasks(self._config, rows, self._archive, generation)
        return trained

    def saved(self, individuals: Sequence[OptimizerIndividual], generation: int) -> dict[str, int]:
        """Whole trainings that those born for a generation do not need, as an older one has given the answer.

        To be asked before they are scored, and with that their rates moved.

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
                saved["form" if form in forms else "steps"] += round(self._config.trainings_per_individual)
            known.add(ind.genome.key)
            forms.add(form)
        return saved

    def _climb(self, individuals: Sequence[OptimizerIndividual], tried: _Tried, generation: int) -> int:
        """Train on one rung after the other, the longest last; who stays behind ranks behind who goes on."""
        evaluation = self._config.evaluation
        trained, left_behind = 0, list[list[OptimizerIndividual]]()
        going = [ind for ind in individuals if not ind.survivor]
        for stage, rung in enumerate(range(-len(evaluation.rungs), 1)):
            if rung == 0:
                promoted = {ind.id for ind in going}
                going = [ind for ind in individuals if ind.survivor or ind.id in promoted]
            if evaluation.racing and going:
                trained += self._race(going, tried, rung, generation, stage)
            else:
                wanted = self._wanted(going, tried, rung, generation)
                trained += self._trainings.train(wanted, generation, stage)
            for ind in going:
                self._settle(ind, tried[ind.id], rung, self._raced.get(ind.id))
            if rung < 0:
                ranked = sorted(going, key=lambda ind: (ind.fitness, -ind.id), reverse=True)
                promoted = {ind.id for ind in ranked[: math.ceil(evaluation.promote * len(ranked))]}
                left_behind.append([ind for ind in going if ind.id not in promoted])
                going = [ind for ind in going if ind.id in promoted]
                # The rate that suits a task is sought in short trainings only.
                tried |= {k: {task: [g] for task, g in self._at[k].items()} for k in promoted}
        for behind in reversed(left_behind):
            fresh = [ind for ind in going if not ind.survivor]
            finished = [ind.fitness for ind in fresh if not ind.fitness.values[0]]
            for ind in behind:
                if finished and ind.fitness > min(finished):
                    ind.fitness = Fitness(min(finished).values)
            going = [*fresh, *behind]
        return trained

    def _race(
        self,
        individuals: Sequence[OptimizerIndividual],
        tried: _Tried,
        rung: int,
        generation: int,
        stage: int,
    ) -> int:
        """Train on one seed after the other; new individuals that are clearly worse get no further ones."""
        racing, trained, self._raced = list(individuals), 0, {}
        assert self._gains is not None, "only gains are raced"
        for seeds in range(1, max(ind.replicates for ind in individuals) + 1):
            wanted = self._wanted(racing, tried, rung, generation, range(seeds - 1, seeds))
            trained += self._trainings.train(wanted, generation, stage + _ROUND * (seeds - 1))
            for ind in racing:
                self._settle(ind, tried[ind.id], rung, seeds)
            leader = max(racing, key=lambda ind: (ind.fitness, -ind.id))
            best = self._counted(self._at[leader.id], rung, seeds)
            for ind in [ind for ind in racing if seeds < ind.replicates and not ind.survivor]:
                if clearly_worse(self._counted(self._at[ind.id], rung, seeds), best, self._gains):
                    racing.remove(ind)
                    self._raced[ind.id] = seeds
                    self.spared += (ind.replicates - seeds) * sum(map(len, tried[ind.id].values()))
        return trained

    def _counted(self, at: Mapping[str, OptimizerGenome], rung: int, seeds: int | None) -> list[Evaluation]:
        rows = [row for task in at for row in self._trainings.runs(at[task], (task,), rung=rung or None)]
        return rows if seeds is None else [row for row in rows if row.replicate < seeds]

    def _wanted(
        self,
        individuals: Sequence[OptimizerIndividual],
        tried: _Tried,
        rung: int,
        generation: int,
        replicates: range | None = None,
    ) -> list[tuple[OptimizerGenome, RunKey]]:
        again = self._config.search.elite_policy == "reevaluate"
        return [
            (genome, (task, replicate, generation if again and ind.survivor else rung))
            for task in self._config.evaluation.tasks
            for replicate in replicates or range(max((ind.replicates for ind in individuals), default=0))
            for ind in individuals
            if replicate < ind.replicates
            for genome in tried[ind.id][task]
        ]

    def _settle(
        self,
        ind: OptimizerIndividual,
        tried: Mapping[str, Sequence[OptimizerGenome]],
        rung: int,
        seeds: int | None = None,
    ) -> None:
        """Judge an individual on a rung, at its best rate for each task; its gene moves to the best.

        Only the first ``seeds`` count, by default all that are known.
        """
        tasks = self._config.evaluation.tasks

        def fitness(genomes: Mapping[str, OptimizerGenome], on: Sequence[str] = tasks) -> Fitness:
            runs = self._counted(genomes, rung, seeds)
            return Fitness(fitness_values(self._config.evaluation.fitness, runs, on, self._gains))

        def best(variants: Sequence[OptimizerGenome], on: Sequence[str]) -> OptimizerGenome:
            if len(variants) == 1:
                return variants[0]
            tried_on: list[dict[str, OptimizerGenome]] = [dict.fromkeys(on, one) for one in variants]
            return variants[max(range(len(variants)), key=lambda k: fitness(tried_on[k], on))]

        at = {task: best(variants, (task,)) for task, variants in tried.items()}
        self._at[ind.id], ind.fitness = at, fitness(at)
        shared = [genome for genome in tried[tasks[0]] if all(genome in of_one for of_one in tried.values())]
        if len(shared) > 1:
            ind.genome = best(shared, tasks)

    def _baseline_gains(self) -> Gains:
        search, evaluation = self._config.search, self._config.evaluation
        seeds = range(max(search.max_replicates, 2 * evaluation.replicates, SPREAD_SEEDS))
        rungs = range(-len(evaluation.rungs), 1)
        wanted = [
            (genome, (task, replicate, rung))
            for task, genome in self._baseline.items()
            for rung in (rungs if task in evaluation.tasks else (0,))
            for replicate in seeds
        ]
        self._trainings.train(wanted, _BASELINE_GENERATION)
        return Gains(self._trainings.on_own_tasks(self._baseline, self._baseline))
