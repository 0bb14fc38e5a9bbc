"""How a generation is trained: rung after rung, at which rates, on how many seeds, and who is left behind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from evoopt.evolution.individual import Fitness
from evoopt.jobs.records import Evaluation
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome, OptimizerIndividual
from evoopt.systems.optimizer.racing import clearly_worse
from evoopt.systems.optimizer.rate_axis import RateAxis
from evoopt.systems.optimizer.scores import Gains, fitness_values
from evoopt.systems.optimizer.trainings import RunKey, Trainings

_ROUND = 1000  # stages of a generation between two rounds of a race
_REACH = 200  # first stage of a generation in which rates further out are tried
_Tried = dict[int, Mapping[str, Sequence[OptimizerGenome]]]
"""Variants of each individual that are tried on each task, by its id."""


class Climb:
    """One generation on its way up the rungs.

    Attributes:
        at: By id of an individual, its variant that was best on each task.
        spared: Trainings that racing spared.

    Args:
        config: The run's configuration.
        trainings: Has rules trained.
        axis: The rates.
        gains: Gains over the baseline, for a fitness that is made of them.
    """

    def __init__(
        self, config: OptimizerConfig, trainings: Trainings, axis: RateAxis, gains: Gains | None
    ) -> None:
        self._config, self._trainings, self._axis, self._gains = config, trainings, axis, gains
        self.at: dict[int, dict[str, OptimizerGenome]] = {}
        self._raced: dict[int, int] = {}
        self.spared = 0

    def climb(
        self,
        individuals: Sequence[OptimizerIndividual],
        variants: Mapping[int, Sequence[OptimizerGenome]],
        generation: int,
    ) -> int:
        """Train on one rung after the other, the longest last; who stays behind ranks behind who goes on.

        Args:
            individuals: They get a fitness and the best rate tried.
            variants: Of each, by its id, what is tried to begin with.
            generation: Its number.

        Returns:
            The number of trainings this took.
        """
        evaluation = self._config.evaluation
        tried: _Tried = {k: dict.fromkeys(evaluation.tasks, of_one) for k, of_one in variants.items()}
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
            if stage == 0:
                trained += self._reach(going, tried, rung, generation)
            if rung < 0:
                ranked = sorted(going, key=lambda ind: (ind.fitness, -ind.id), reverse=True)
                promoted = {ind.id for ind in ranked[: math.ceil(evaluation.promote * len(ranked))]}
                left_behind.append([ind for ind in going if ind.id not in promoted])
                going = [ind for ind in going if ind.id in promoted]
                # The rate that suits a task is sought in short trainings only.
                tried |= {k: {task: [g] for task, g in self.at[k].items()} for k in promoted}
        for behind in reversed(left_behind):
            fresh = [ind for ind in going if not ind.survivor]
            finished = [ind.fitness for ind in fresh if not ind.fitness.values[0]]
            for ind in behind:
                if finished and ind.fitness > min(finished):
                    ind.fitness = Fitness(min(finished).values)
            going = [*fresh, *behind]
        return trained

    def _reach(
        self, individuals: Sequence[OptimizerIndividual], tried: _Tried, rung: int, generation: int
    ) -> int:
        """Go on to the next rate where the best of those tried is the outermost, which says not how far."""
        tasks, trained = self._config.evaluation.tasks, 0
        reaching = [ind for ind in individuals if ind.id not in self._raced]
        for further in range(self._config.evaluation.rate_reach):
            new: dict[int, OptimizerGenome] = {}
            for ind in reaching:
                if (one := self._axis.beyond(ind.genome, tried[ind.id][tasks[0]])) is not None:
                    new[ind.id] = one
                    tried[ind.id] = {task: [*known, one] for task, known in tried[ind.id].items()}
            reaching = [ind for ind in reaching if ind.id in new]
            only: _Tried = {k: {task: [one] for task in tasks} for k, one in new.items()}
            wanted = self._wanted(reaching, only, rung, generation)
            trained += self._trainings.train(wanted, generation, _REACH + further)
            for ind in reaching:
                self._settle(ind, tried[ind.id], rung)
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
            best = self._counted(self.at[leader.id], rung, seeds)
            for ind in [ind for ind in racing if seeds < ind.replicates and not ind.survivor]:
                if clearly_worse(self._counted(self.at[ind.id], rung, seeds), best, self._gains):
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
        self.at[ind.id], ind.fitness = at, fitness(at)
        shared = [genome for genome in tried[tasks[0]] if all(genome in of_one for of_one in tried.values())]
        if len(shared) > 1:
            ind.genome = best(shared, tasks)
