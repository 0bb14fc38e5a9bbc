"""The search for an optimizer as a scheme: how rules are scored, and how the winner is named."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from deap import base, tools

from evoopt.evolution.elitist import Elitism, ElitistGenerations
from evoopt.evolution.selection import sel_tournament_distinct
from evoopt.runs.finalists import preferred
from evoopt.systems.optimizer.best_rule import portrait
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.evaluator import Evaluator
from evoopt.systems.optimizer.front import Front
from evoopt.systems.optimizer.literal import LiteralOperators
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome, OptimizerIndividual
from evoopt.systems.optimizer.robust import RobustOperators

RuleGenerations = ElitistGenerations[OptimizerGenome]


def optimizer_toolbox(config: OptimizerConfig) -> tuple[base.Toolbox, tuple[OptimizerGenome, ...]]:
    """Register random, mate, mutate and select for optimizer genomes.

    Returns:
        The toolbox, and the genomes that the first generation starts with.
    """
    genome, space = config.genome, config.genome.space()
    toolbox = base.Toolbox()
    literal = genome.operators == "literal"
    operators: LiteralOperators | RobustOperators
    if literal:
        operators = LiteralOperators(space)
        toolbox.register("random", operators.random)
    else:
        kept = {"p_structure": 0.0, "p_flag": 0.0} if genome.vary == "constants" else {}
        operators = RobustOperators(space, genome.initial, **kept)
        toolbox.register("random", operators.mutant if genome.fill == "mutants" else operators.random)
    toolbox.register("mate", operators.mate)
    toolbox.register("mutate", operators.mutate)
    pareto = config.search.survivors == "pareto"
    select = partial(tools.selTournament, fit_attr="crowded") if pareto else tools.selTournament
    toolbox.register(
        "select", sel_tournament_distinct if literal else select, tournsize=config.search.tournament
    )
    seeds = operators.seeds()
    if config.evaluation.equivalence == "steps":

        def compared(genome: OptimizerGenome) -> OptimizerGenome:
            return replace(genome, steps=config.evaluation.steps)

        for name in ("random", "mate"):  # a mutant has what it is made of
            toolbox.decorate(name, lambda make: lambda *args: compared(make(*args)))
        seeds = tuple(map(compared, seeds))
    return toolbox, seeds


def rule_generations(config: OptimizerConfig) -> RuleGenerations:
    """The first generation of a search."""
    search = config.search
    toolbox, seeds = optimizer_toolbox(config)
    elitism = Elitism(
        search.population,
        search.population // 2 if search.survivors == "pareto" else search.elites,
        search.generations,
        search.seed,
        config.evaluation.replicates,
        search.max_replicates if search.elite_policy == "reaverage" else 0,
        search.survivors,
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
        self._meta_best: list[tuple[float, OptimizerIndividual]] = []
        self._front = Front(config) if config.search.survivors == "pareto" else None

    def score(self, generations: RuleGenerations) -> dict[str, Any]:
        """See `Judge.score`."""
        own = [ind.genome for ind in generations.population]
        evaluation, saved = self._config.evaluation, dict[str, int]()
        if evaluation.equivalence == "steps" and evaluation.fitness != "noise":
            saved = self._evaluator.saved(generations.population, generations.generation)
        trained = self._evaluator.score(generations.population, generations.generation)
        if evaluation.racing:
            saved["racing"] = self._evaluator.spared
        # An elite's fitness changes as it is averaged over more seeds, so its older copy must not keep its
        # place.
        keys = {ind.genome.key for ind in generations.population}
        older = [ind for ind in self._hall if ind.genome.key not in keys]
        self._hall.clear()
        self._hall.update([*generations.population, *older])
        record = {**self._statistics(generations, trained), **({"saved": saved} if saved else {})}
        if self._front is not None:
            self._front.weigh(generations.population)
            record |= self._front.update(generations.population)
        if evaluation.rates > 1 or evaluation.decays > 1:
            record["best_genome"] = generations.best().genome.to_json()
        if evaluation.meta_tasks:
            more, trained = self._meta_validate(generations)
            record |= {**more, "trainings": record["trainings"] + trained}
        if not evaluation.lamarckian:
            for ind, genome in zip(generations.population, own, strict=True):
                ind.genome = genome
        return record

    def winner(self) -> dict[str, Any]:
        """The best of the best, scored again on fresh seeds, as JSON."""
        config = self._config
        finalists = self._finalists()
        if config.evaluation.fitness == "noise" or not finalists:
            return {**_search_portrait(self._hall[0]), "final": None, "finalists": []}
        scores = self._evaluator.validation.score_finalists(finalists)
        order = sorted(range(len(finalists)), key=lambda k: (scores[k].fitness, -k), reverse=True)
        names = ("unfinished_rate", "score", "loss")
        rows = [
            {
                **_search_portrait(finalists[k]),
                "final": dict(zip(names, scores[k].fitness.values, strict=True)),
                **({"gains": scores[k].tasks} if config.evaluation.meta_tasks else {}),
            }
            for k in order
        ]
        if self._front is not None:
            self._front.mark(rows, [finalists[k] for k in order])
        return {**preferred(rows, config.search.prefer), "finalists": rows}

    def to_json(self) -> dict[str, Any]:
        """The hall of fame, who was best in meta-validation, and the front."""
        meta = [[gain, ind.to_json()] for gain, ind in self._meta_best]
        front = {} if self._front is None else {"front": self._front.to_json()}
        return {"hall": [ind.to_json() for ind in self._hall], **({"meta": meta} if meta else {}), **front}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Judge.restore`."""
        hall = [OptimizerIndividual.from_json(row, OptimizerGenome.from_json) for row in state["hall"]]
        # A hall inserts before its equals, so going backwards rebuilds the order of ties.
        self._hall.clear()
        self._hall.update(hall[::-1])
        self._meta_best = [
            (float(gain), OptimizerIndividual.from_json(row, OptimizerGenome.from_json))
            for gain, row in state.get("meta", [])
        ]
        if self._front is not None:
            self._front.restore(state["front"])

    def _meta_validate(self, generations: RuleGenerations) -> tuple[dict[str, Any], int]:
        """What the record of a generation says of it, and the number of trainings it took."""
        best = generations.best()
        gains, trained = self._evaluator.validation.meta_gains(best, generations.generation)
        gain = sum(gains.values()) / len(gains)
        if best.genome.key not in {ind.genome.key for _, ind in self._meta_best}:
            self._meta_best.append((gain, deepcopy(best)))
            self._meta_best.sort(key=lambda pair: (-pair[0], pair[1].id))
            del self._meta_best[max(1, self._config.search.finalists) :]
        finite = {task: value if math.isfinite(value) else None for task, value in gains.items()}
        return {"meta": gain if math.isfinite(gain) else None, "meta_tasks": finite}, trained

    def _finalists(self) -> list[OptimizerIndividual]:
        """The best of the search and, where there are such, of meta-validation and of the front."""
        count = self._config.search.finalists
        best = [*list(self._hall)[:count], *(ind for _, ind in self._meta_best)]
        best += self._front.first(count) if self._front is not None else []
        return list({ind.genome.key: ind for ind in reversed(best)}.values())[::-1]

    def _statistics(self, generations: RuleGenerations, trained: int) -> dict[str, Any]:
        population: Sequence[OptimizerIndividual] = generations.population
        runs_of = self._evaluator.runs_of
        statistics = tools.Statistics(lambda ind: ind.fitness.score)
        for name in ("mean", "median", "std", "min"):
            statistics.register(name, getattr(np, name))
        best = generations.best()
        runs = runs_of(best)
        terms = Counter(name for ind in population for name in ind.genome.terms)
        outcomes = Counter(run.result.outcome for ind in population for run in runs_of(ind))
        summary = statistics.compile(population)
        return {
            "generation": generations.generation,
            "trainings": trained,
            "best": best.fitness.score,
            **{name: float(summary[name]) for name in ("mean", "median", "std", "min")},
            "outcomes": {name: count / outcomes.total() for name, count in sorted(outcomes.items())},
            "best_id": best.id,
            "best_tasks": self._evaluator.task_scores(best) if runs else {},
            "terms": dict(sorted(terms.items())),
            "mean_length": float(np.mean([len(ind.genome.terms) for ind in population])),
        }


def _same_rule(a: OptimizerIndividual, b: OptimizerIndividual) -> bool:
    return bool(a.genome.key == b.genome.key)


def _search_portrait(ind: OptimizerIndividual) -> dict[str, Any]:
    return {**portrait(ind), "search_fitness": ind.fitness.score, "search_replicates": ind.replicates}
