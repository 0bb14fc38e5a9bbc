"""What rules are worth where nothing selected them: on meta-validation tasks, and on fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evoopt.evolution.individual import Fitness, Individual
from evoopt.jobs.records import FINAL_REPLICATE, Evaluation
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome, OptimizerIndividual
from evoopt.systems.optimizer.rate_axis import RateAxis
from evoopt.systems.optimizer.scores import FitnessName, Gains, fitness_values, task_scores
from evoopt.systems.optimizer.trainings import Trainings

_META_SCORE, _META_RATES = 100, 101
"""Stages of a generation in which its best is tried on the meta-validation tasks."""


@dataclass(frozen=True)
class FinalScore:
    """What a finalist achieved on fresh seeds.

    Attributes:
        fitness: It decides who wins.
        tasks: Score by task, None where no training ended well.
    """

    fitness: Fitness
    tasks: dict[str, float | None]


@dataclass(frozen=True)
class Trial:
    """What rules are scored on.

    Attributes:
        tasks: Names of the tasks.
        seeds: Seeds that count, as replicates.
        rate_seeds: Other seeds, on which the rate for each task is chosen.
        baseline_seeds: Those of the baseline, among them the ones that count.
        repeat: Length of the trainings, see `evoopt.jobs.records.Evaluation`.
        generation: What they are made for, likewise.
    """

    tasks: Sequence[str]
    seeds: Sequence[int]
    rate_seeds: Sequence[int]
    baseline_seeds: Sequence[int]
    repeat: int
    generation: int


class Validation:
    """Scores at the best rate for each task, which is chosen on other seeds than those that count.

    Args:
        config: The run's configuration.
        trainings: Has rules trained.
        axis: The rates.
        baseline: The tuned baseline by task; None where there is none.
        gains: Its gains on the seeds of the search.
    """

    def __init__(
        self,
        config: OptimizerConfig,
        trainings: Trainings,
        axis: RateAxis,
        baseline: Mapping[str, OptimizerGenome] | None,
        gains: Gains | None,
    ) -> None:
        self._config, self._trainings, self._axis = config, trainings, axis
        self._baseline, self._gains = baseline or {}, gains

    def meta_gains(self, ind: OptimizerIndividual, generation: int) -> tuple[dict[str, float], int]:
        """Gain of a scored individual on each meta-validation task, at the best rate for that task.

        The rate is chosen on one half of the seeds and scored on the other. A task without a score counts as
        minus infinity.

        Returns:
            Gains by task, and the number of trainings this took.
        """
        evaluation = self._config.evaluation
        seeds = range(evaluation.replicates, 2 * evaluation.replicates)
        first = range(evaluation.replicates)
        best, trained = self._best_rates(ind, evaluation.meta_tasks, generation, _META_RATES, first)
        wanted = [(genome, (task, k, 0)) for task, genome in best.items() for k in seeds]
        trained += self._trainings.train(wanted, generation, _META_SCORE)
        return {task: self._gain(genome, task, seeds) for task, genome in best.items()}, trained

    def score_finalists(self, finalists: Sequence[OptimizerIndividual]) -> list[FinalScore]:
        """Score on fresh seeds only, which owe nothing to selection; in order.

        With meta-validation tasks these decide. Either way each is tried at its best rate for each task.
        """
        search, evaluation = self._config.search, self._config.evaluation
        seeds = range(FINAL_REPLICATE, FINAL_REPLICATE + search.final_replicates)
        tasks = evaluation.meta_tasks or evaluation.tasks
        trial = Trial(tasks, seeds, range(evaluation.replicates), seeds, 0, search.generations)
        fitness: FitnessName = "gain" if evaluation.meta_tasks else evaluation.fitness
        return self.score_trial(finalists, trial, fitness, self._baseline)

    def score_trial(
        self,
        finalists: Sequence[Individual[OptimizerGenome]],
        trial: Trial,
        fitness: FitnessName,
        baseline: Mapping[str, OptimizerGenome],
    ) -> list[FinalScore]:
        """Score on the seeds of a trial, each at its best rate for each task; in order.

        Args:
            finalists: Whom to score.
            trial: On what.
            fitness: By what.
            baseline: Tuned for it, by task; empty where there is none.
        """
        tasks, repeat = trial.tasks, trial.repeat
        best = [
            self._best_rates(ind, tasks, trial.generation, _META_RATES + k, trial.rate_seeds, repeat)[0]
            for k, ind in enumerate(finalists)
        ]
        wanted = [(of_one[task], (task, k, repeat)) for task in tasks for k in trial.seeds for of_one in best]
        if baseline:
            # The baseline meets the same seeds, in the same chunks.
            wanted += [(baseline[task], (task, k, repeat)) for task in tasks for k in trial.baseline_seeds]
        self._trainings.train(wanted, trial.generation)
        target = self._config.evaluation.target
        gains = Gains(self._trainings.on_own_tasks(baseline, tasks), target) if baseline else None
        scores = []
        for of_one in best:
            runs = [row for task in tasks for row in self._rows(of_one[task], task, trial.seeds, repeat)]
            values = fitness_values(fitness, runs, tasks, gains)
            scores.append(FinalScore(Fitness(values), task_scores(fitness, runs, tasks, gains)))
        return scores

    def _best_rates(
        self,
        ind: Individual[OptimizerGenome],
        tasks: Sequence[str],
        generation: int,
        stage: int,
        seeds: Sequence[int],
        repeat: int = 0,
    ) -> tuple[dict[str, OptimizerGenome], int]:
        """The variant of an individual that is best on each task, and the number of trainings this took."""
        variants = self._axis.variants(ind.genome)
        if len(variants) == 1:
            return dict.fromkeys(tasks, ind.genome), 0
        wanted = [(v, (task, k, repeat)) for task in tasks for k in seeds for v in variants]
        trained = self._trainings.train(wanted, generation, stage)
        return {
            task: max(variants, key=lambda v: self._gain(v, task, seeds, repeat)) for task in tasks
        }, trained

    def _rows(
        self, genome: OptimizerGenome, task: str, seeds: Sequence[int], repeat: int
    ) -> list[Evaluation]:
        final = min(seeds) >= FINAL_REPLICATE
        rows = self._trainings.runs(genome, (task,), final=final, rung=repeat)
        return [row for row in rows if row.replicate in seeds]

    def _gain(self, genome: OptimizerGenome, task: str, seeds: Sequence[int], repeat: int = 0) -> float:
        """Mean gain over seeds, or metric where there is no baseline; minus infinity if one has no score."""
        rows = self._rows(genome, task, seeds, repeat)
        if any(row.result.outcome != "ok" for row in rows):
            return -math.inf
        # Gains are known at the search's length; elsewhere the order by metric is the same.
        value = self._gains if self._gains and not repeat else lambda row: row.result.metric
        return sum(map(value, rows)) / len(rows)
