"""Scores individuals: which trainings a fitness needs, at which lengths and rates, and what follows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evoopt.evolution.individual import Fitness, RankedIndividual
from evoopt.execution import Executor
from evoopt.jobs.no_score import no_score
from evoopt.jobs.records import FINAL_REPLICATE, Evaluation
from evoopt.runs.store import RunStore
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.rate_axis import RateAxis
from evoopt.systems.optimizer.scores import FitnessName, Gains, fitness_values, task_scores
from evoopt.systems.optimizer.trainings import RunKey, Trainings

_NOISE = 202
_BASELINE_GENERATION = -1
_BASELINE_SEEDS = 8
"""Fewest seeds that the spread of a baseline is taken from."""
_META_SCORE, _META_RATES = 100, 101
"""Stages of a generation in which its best is tried on the meta-validation tasks."""

OptimizerIndividual = RankedIndividual[OptimizerGenome]

_Tried = dict[int, Mapping[str, Sequence[OptimizerGenome]]]
"""Variants of each individual that are tried on each task, by its id."""


@dataclass(frozen=True)
class FinalScore:
    """What a finalist achieved on fresh seeds.

    Attributes:
        fitness: It decides who wins.
        tasks: Score by task, None where no training ended well.
    """

    fitness: Fitness
    tasks: dict[str, float | None]


class Evaluator:
    """Gives individuals their fitness; what was trained once is never trained again.

    Args:
        config: The run's configuration.
        executor: Runs chunks.
        archive: Keeps evaluations; what it already holds is not trained again.
        on_chunk: Called with the number of trainings done and left whenever that changes.
        baseline: The tuned baseline by task, for a configuration that is judged by gain.
    """

    def __init__(
        self,
        config: OptimizerConfig,
        executor: Executor,
        archive: RunStore,
        on_chunk: Callable[[int, int], None] = lambda done, left: None,
        baseline: Mapping[str, OptimizerGenome] | None = None,
    ) -> None:
        self._config = config
        self._archive = archive
        self._trainings = Trainings(config, executor, archive, on_chunk)
        evaluation, ranges = config.evaluation, config.genome.space().ranges
        self._axis = RateAxis(
            evaluation.rates,
            evaluation.decays,
            evaluation.rate_factor,
            ranges["lr_log10"],
            ranges["wd_log10"],
        )
        self._at: dict[int, dict[str, OptimizerGenome]] = {}
        self._baseline = baseline or {}
        self._gains = self._baseline_gains() if baseline else None

    def runs_of(self, ind: OptimizerIndividual, final: bool = False) -> list[Evaluation]:
        """The trainings that count for an individual: those of the search, or those of the final.

        It must be one of those that were scored last.
        """
        tasks, at = dict.fromkeys(self._config.evaluation.tasks), {} if final else self._at.get(ind.id, {})
        return [row for task in tasks for row in self._runs(at.get(task, ind.genome), (task,), final)]

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
        self._at = {}
        trained = self._climb(
            individuals, {k: dict.fromkeys(tasks, of_one) for k, of_one in variants.items()}, generation
        )
        self._check_scores(everything, generation)
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

    def meta_gains(self, ind: OptimizerIndividual, generation: int) -> tuple[dict[str, float], int]:
        """Gain of a scored individual on each meta-validation task, at the best rate for that task.

        The rate is chosen on one half of the seeds and scored on the other. A task without a score counts as
        minus infinity.

        Returns:
            Gains by task, and the number of trainings this took.
        """
        evaluation = self._config.evaluation
        seeds = range(evaluation.replicates, 2 * evaluation.replicates)
        best, trained = self._best_rates(ind, evaluation.meta_tasks, generation, _META_RATES)
        wanted = [(genome, (task, k, 0)) for task, genome in best.items() for k in seeds]
        trained += self._trainings.train(wanted, generation, _META_SCORE)
        return {task: self._gain(genome, task, seeds) for task, genome in best.items()}, trained

    def score_finalists(self, finalists: Sequence[OptimizerIndividual]) -> list[FinalScore]:
        """Score on fresh seeds only, which owe nothing to selection; in order.

        With meta-validation tasks these decide. Either way each is tried at its best rate for each task.
        """
        search, evaluation = self._config.search, self._config.evaluation
        seeds = [FINAL_REPLICATE + k for k in range(search.final_replicates)]
        meta = bool(evaluation.meta_tasks)
        fitness: FitnessName = "gain" if meta else evaluation.fitness
        tasks = evaluation.meta_tasks or evaluation.tasks
        best = [
            self._best_rates(ind, tasks, search.generations, _META_RATES + k)[0]
            for k, ind in enumerate(finalists)
        ]
        wanted = [(of_one[task], (task, k, 0)) for task in tasks for k in seeds for of_one in best]
        if self._gains is not None:
            # The baseline meets the same seeds, in the same chunks.
            wanted += [(self._baseline[task], (task, k, 0)) for task in tasks for k in seeds]
        self._trainings.train(wanted, search.generations)
        gains = self._gains and Gains(self._baseline_runs(tasks))
        scores = []
        for of_one in best:
            runs = [row for task in tasks for row in self._runs(of_one[task], (task,), final=True)]
            values = fitness_values(fitness, runs, tasks, gains)
            scores.append(FinalScore(Fitness(values), task_scores(fitness, runs, tasks, gains)))
        return scores

    def _climb(self, individuals: Sequence[OptimizerIndividual], tried: _Tried, generation: int) -> int:
        """Train on one rung after the other, the longest last; who stays behind ranks behind who goes on."""
        evaluation = self._config.evaluation
        trained, left_behind = 0, list[list[OptimizerIndividual]]()
        going = [ind for ind in individuals if not ind.survivor]
        for stage, rung in enumerate(range(-len(evaluation.rungs), 1)):
            if rung == 0:
                promoted = {ind.id for ind in going}
                going = [ind for ind in individuals if ind.survivor or ind.id in promoted]
            trained += self._trainings.train(self._wanted(going, tried, rung, generation), generation, stage)
            for ind in going:
                self._settle(ind, tried[ind.id], rung)
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

    def _wanted(
        self, individuals: Sequence[OptimizerIndividual], tried: _Tried, rung: int, generation: int
    ) -> list[tuple[OptimizerGenome, RunKey]]:
        again = self._config.search.elite_policy == "reevaluate"
        return [
            (genome, (task, replicate, generation if again and ind.survivor else rung))
            for task in self._config.evaluation.tasks
            for replicate in range(max((ind.replicates for ind in individuals), default=0))
            for ind in individuals
            if replicate < ind.replicates
            for genome in tried[ind.id][task]
        ]

    def _settle(
        self, ind: OptimizerIndividual, tried: Mapping[str, Sequence[OptimizerGenome]], rung: int
    ) -> None:
        """Judge an individual on a rung, at its best rate for each task; its gene moves to the best."""
        tasks, only = self._config.evaluation.tasks, rung or None

        def fitness(genomes: Mapping[str, OptimizerGenome]) -> Fitness:
            runs = [row for task, one in genomes.items() for row in self._runs(one, (task,), rung=only)]
            return Fitness(fitness_values(self._config.evaluation.fitness, runs, tasks, self._gains))

        def on_all(genome: OptimizerGenome) -> Fitness:
            return fitness(dict.fromkeys(tasks, genome))

        at: dict[str, OptimizerGenome] = {
            task: max(variants, key=lambda genome: self._fitness_on(genome, task, only))
            for task, variants in tried.items()
        }
        self._at[ind.id], ind.fitness = at, fitness(at)
        shared = [genome for genome in tried[tasks[0]] if all(genome in of_one for of_one in tried.values())]
        if len(shared) > 1:
            ind.genome = max(shared, key=on_all)

    def _fitness_on(self, genome: OptimizerGenome, task: str, rung: int | None) -> Fitness:
        runs = self._runs(genome, (task,), rung=rung)
        return Fitness(fitness_values(self._config.evaluation.fitness, runs, (task,), self._gains))

    def _best_rates(
        self, ind: OptimizerIndividual, tasks: Sequence[str], generation: int, stage: int
    ) -> tuple[dict[str, OptimizerGenome], int]:
        """The variant of an individual that is best on each task, and the number of trainings this took."""
        seeds, variants = range(self._config.evaluation.replicates), self._axis.variants(ind.genome)
        if len(variants) == 1:
            return dict.fromkeys(tasks, ind.genome), 0
        wanted = [(v, (task, k, 0)) for task in tasks for k in seeds for v in variants]
        trained = self._trainings.train(wanted, generation, stage)
        return {task: max(variants, key=lambda v: self._gain(v, task, seeds)) for task in tasks}, trained

    def _gain(self, genome: OptimizerGenome, task: str, seeds: Sequence[int]) -> float:
        """Mean gain over seeds, or metric where there is no baseline; minus infinity if one has no score."""
        rows = [r for r in self._trainings.of(genome) if (r.task, r.repeat) == (task, 0)]
        rows = [row for row in rows if row.replicate in seeds]
        if any(row.result.outcome != "ok" for row in rows):
            return -math.inf
        value = self._gains or (lambda row: row.result.metric)
        return sum(map(value, rows)) / len(rows)

    def _runs(
        self, genome: OptimizerGenome, tasks: Sequence[str], final: bool = False, rung: int | None = None
    ) -> list[Evaluation]:
        counted = [
            row
            for row in self._trainings.of(genome)
            if row.task in tasks and (row.replicate >= FINAL_REPLICATE) == final
        ]
        last = max((row.repeat for row in counted), default=0) if rung is None else rung
        counted = [row for row in counted if row.repeat == last]
        return sorted(counted, key=lambda row: (row.task, row.replicate))

    def _baseline_gains(self) -> Gains:
        search, evaluation = self._config.search, self._config.evaluation
        seeds = range(max(search.max_replicates, 2 * evaluation.replicates, _BASELINE_SEEDS))
        rungs = range(-len(evaluation.rungs), 1)
        wanted = [
            (genome, (task, replicate, rung))
            for task, genome in self._baseline.items()
            for rung in (rungs if task in evaluation.tasks else (0,))
            for replicate in seeds
        ]
        self._trainings.train(wanted, _BASELINE_GENERATION)
        return Gains(self._baseline_runs(self._baseline))

    def _baseline_runs(self, tasks: Sequence[str] | Mapping[str, object]) -> list[Evaluation]:
        return [row for task in tasks for row in self._trainings.of(self._baseline[task]) if row.task == task]

    def _check_scores(self, genomes: Sequence[OptimizerGenome], generation: int) -> None:
        evaluation, last = self._config.evaluation, self._config.search.generations - 1
        rows = [row for genome in genomes for row in self._runs(genome, evaluation.tasks)]
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
