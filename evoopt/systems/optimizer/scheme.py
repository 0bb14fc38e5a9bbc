"""The search for an optimizer as a scheme: how rules are scored, and how the winner is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from deap import base, tools

from evoopt.evolution.elitist import Elitism, ElitistGenerations
from evoopt.evolution.individual import Fitness
from evoopt.evolution.selection import sel_tournament_distinct
from evoopt.systems.optimizer.best_rule import portrait
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.evaluator import Evaluator, OptimizerIndividual
from evoopt.systems.optimizer.literal import LiteralOperators
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.robust import RobustOperators
from evoopt.systems.optimizer.scores import task_scores

RuleGenerations = ElitistGenerations[OptimizerGenome]


def optimizer_toolbox(config: OptimizerConfig) -> tuple[base.Toolbox, tuple[OptimizerGenome, ...]]:
    """Register random, mate, mutate and select for optimizer genomes.

    Returns:
        The toolbox, and the genomes that the first generation starts with.
    """
    space = config.genome.space()
    literal = config.genome.operators == "literal"
    operators = LiteralOperators(space) if literal else RobustOperators(space, config.genome.initial)
    toolbox = base.Toolbox()
    toolbox.register("random", operators.random)
    toolbox.register("mate", operators.mate)
    toolbox.register("mutate", operators.mutate)
    toolbox.register(
        "select",
        sel_tournament_distinct if literal else tools.selTournament,
        tournsize=config.search.tournament,
    )
    seeds = operators.seeds()
    if config.evaluation.equivalence == "steps":

        def compared(make: Callable[..., OptimizerGenome]) -> Callable[..., OptimizerGenome]:
            return lambda *args: replace(make(*args), steps=config.evaluation.steps)

        for name in ("random", "mate"):  # a mutant has what it is made of
            toolbox.decorate(name, compared)
        seeds = tuple(compared(lambda seed: seed)(seed) for seed in seeds)
    return toolbox, seeds


def rule_generations(config: OptimizerConfig) -> RuleGenerations:
    """The first generation of a search."""
    search = config.search
    toolbox, seeds = optimizer_toolbox(config)
    elitism = Elitism(
        search.population,
        search.elites,
        search.generations,
        search.seed,
        config.evaluation.replicates,
        search.max_replicates if search.elite_policy == "reaverage" else 0,
    )
    return ElitistGenerations(toolbox, elitism, OptimizerGenome.from_json, seeds)


class RuleJudge:
    """Scores generations of rules and remembers the best of all.

    Args:
        config: The run's configuration.
        evaluator: Trains what has not been trained yet.
    """

    def __init__(self, config: OptimizerConfig, evaluator: Evaluator) -> None:
        self._config, self._evaluator = config, evaluator
        self._hall = tools.HallOfFame(max(config.search.finalists, 10), similar=_same_rule)

    def score(self, generations: RuleGenerations) -> dict[str, Any]:
        """See `Judge.score`."""
        trained = self._evaluator.score(generations.population, generations.generation)
        # An elite's fitness changes as it is averaged over more seeds, so its older copy must not keep its
        # place.
        keys = {ind.genome.key for ind in generations.population}
        older = [ind for ind in self._hall if ind.genome.key not in keys]
        self._hall.clear()
        self._hall.update([*generations.population, *older])
        return self._statistics(generations, trained)

    def winner(self) -> dict[str, Any]:
        """The best of the best, scored again on fresh seeds, as JSON."""
        config = self._config
        finalists: list[OptimizerIndividual] = list(self._hall)[: config.search.finalists]
        if config.evaluation.fitness == "noise" or not finalists:
            return {**_search_portrait(self._hall[0]), "final": None, "finalists": []}
        values = self._evaluator.score_finalists(finalists)
        fitness = [Fitness(value) for value in values]
        order = sorted(range(len(finalists)), key=lambda k: (fitness[k], -k), reverse=True)
        rows = [
            {
                **_search_portrait(finalists[k]),
                "final": {"unfinished_rate": values[k][0], "score": values[k][1], "loss": values[k][2]},
            }
            for k in order
        ]
        return {**rows[0], "finalists": rows}

    def to_json(self) -> dict[str, Any]:
        """The hall of fame."""
        return {"hall": [ind.to_json() for ind in self._hall]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Judge.restore`."""
        hall = [OptimizerIndividual.from_json(row, OptimizerGenome.from_json) for row in state["hall"]]
        # A hall inserts before its equals, so going backwards rebuilds the order of ties.
        self._hall.clear()
        self._hall.update(hall[::-1])

    def _statistics(self, generations: RuleGenerations, trained: int) -> dict[str, Any]:
        population: Sequence[OptimizerIndividual] = generations.population
        evaluation, runs_of = self._config.evaluation, self._evaluator.runs_of
        statistics = tools.Statistics(lambda ind: ind.fitness.score)
        for name in ("mean", "median", "std", "min"):
            statistics.register(name, getattr(np, name))
        best = generations.best()
        runs = runs_of(best)
        terms = Counter(name for ind in population for name in ind.genome.terms)
        outcomes = Counter(run.result.outcome for ind in population for run in runs_of(ind))
        summary = statistics.compile(population)
        saved = {}
        if evaluation.equivalence == "steps" and evaluation.fitness != "noise":
            saved = {"saved": self._evaluator.saved(population, generations.generation)}
        return {
            "generation": generations.generation,
            "trainings": trained,
            **saved,
            "best": best.fitness.score,
            **{name: float(summary[name]) for name in ("mean", "median", "std", "min")},
            "outcomes": {name: count / outcomes.total() for name, count in sorted(outcomes.items())},
            "best_id": best.id,
            "best_tasks": task_scores(evaluation.fitness, runs, evaluation.tasks) if runs else {},
            "terms": dict(sorted(terms.items())),
            "mean_length": float(np.mean([len(ind.genome.terms) for ind in population])),
        }


def _same_rule(a: OptimizerIndividual, b: OptimizerIndividual) -> bool:
    return bool(a.genome.key == b.genome.key)


def _search_portrait(ind: OptimizerIndividual) -> dict[str, Any]:
    return {**portrait(ind), "search_fitness": ind.fitness.score, "search_replicates": ind.replicates}
