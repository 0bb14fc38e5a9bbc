"""Scores individuals: what they are trained for, what is known already, and the fitness that follows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from evoopt.execution import Executor
from evoopt.jobs.records import Evaluation
from evoopt.runs.store import BEFORE_THE_FIRST, RunStore
from evoopt.systems.optimizer.broken_tasks import refuse_broken_tasks
from evoopt.systems.optimizer.climb import Climb
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome, OptimizerIndividual
from evoopt.systems.optimizer.rate_axis import RateAxis
from evoopt.systems.optimizer.scores import SPREAD_SEEDS, Gains, task_scores
from evoopt.systems.optimizer.trainings import Trainings
from evoopt.systems.optimizer.validation import Validation

_NOISE = 202


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
        self._at: Mapping[int, Mapping[str, OptimizerGenome]] = {}
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
        climb = Climb(self._config, self._trainings, self._axis, self._gains)
        trained = climb.climb(individuals, variants, generation)
        self._at, self.spared = climb.at, climb.spared
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
        self._trainings.train(wanted, BEFORE_THE_FIRST)
        return Gains(self._trainings.on_own_tasks(self._baseline, self._baseline), evaluation.target)
