"""The generation loop: score, record, vary, checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from deap import tools

from evoopt.errors import read_as_data
from evoopt.systems.optimizer.best_rule import portrait
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.evaluator import Archive, Evaluator, OptimizerIndividual
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.optimizer_toolbox import optimizer_toolbox
from evoopt.systems.optimizer.scheme import ElitistScheme
from evoopt.systems.optimizer.scores import task_scores


class Record(Archive, Protocol):
    """Where a run is kept."""

    def checkpoint(self) -> dict[str, Any] | None:
        """The newest checkpoint, None before the first."""

    def load_individuals(self, rows: Sequence[dict[str, Any]]) -> list[OptimizerIndividual]:
        """Rebuild individuals from what `Individual.to_json` wrote."""

    def save_generation(
        self, record: dict[str, Any] | None, state: dict[str, Any], created: Sequence[OptimizerIndividual]
    ) -> None:
        """Keep a generation's statistics, the individuals created and the new checkpoint, all or none."""

    def save_winner(self, winner: dict[str, Any]) -> None:
        """Keep the winner; the run is finished."""


class Observer(Protocol):
    """Told of every finished generation."""

    def generation_done(self, record: dict[str, Any]) -> None:
        """Take note of a generation's statistics."""


def evolve(
    config: OptimizerConfig, evaluator: Evaluator, record: Record, observer: Observer
) -> dict[str, Any]:
    """Run a search to its end, from the record's checkpoint if there is one.

    Returns:
        The winner, as kept in the record.
    """
    toolbox, seeds = optimizer_toolbox(config)
    toolbox.register("evaluate", evaluator.score)
    state = record.checkpoint()
    scheme = ElitistScheme(toolbox, config.search, config.evaluation.replicates, seeds, begin=state is None)
    hall = tools.HallOfFame(max(config.search.finalists, 10), similar=_same_rule)
    if state is None:
        record.save_generation(None, _state(scheme, hall), scheme.population)
    else:
        with read_as_data("the run's checkpoint"):
            scheme.restore(state["scheme"], record.load_individuals(state["scheme"]["population"]))
            # A hall inserts before its equals, so going backwards rebuilds the order of ties.
            hall.update(record.load_individuals(state["hall"])[::-1])
    while scheme.generation < config.search.generations:
        trained = toolbox.evaluate(scheme.population, scheme.generation)
        _update_hall(hall, scheme.population)
        statistics = _statistics(config, scheme, evaluator, trained)
        last = scheme.generation == config.search.generations - 1
        if last:
            scheme.generation += 1
        created = [] if last else scheme.tell()
        record.save_generation(statistics, _state(scheme, hall), created)
        observer.generation_done(statistics)
    winner = _name_winner(config, evaluator, hall)
    record.save_winner(winner)
    return winner


def _state(scheme: ElitistScheme[Any], hall: tools.HallOfFame) -> dict[str, Any]:
    return {"scheme": scheme.state(), "hall": [ind.to_json() for ind in hall]}


def _same_rule(a: OptimizerIndividual, b: OptimizerIndividual) -> bool:
    return bool(a.genome.key == b.genome.key)


def _update_hall(hall: tools.HallOfFame, population: Sequence[OptimizerIndividual]) -> None:
    # An elite's fitness changes as it is averaged over more seeds, so its older copy must not keep its place.
    keys = {ind.genome.key for ind in population}
    older = [ind for ind in hall if ind.genome.key not in keys]
    hall.clear()
    hall.update([*population, *older])


def _statistics(
    config: OptimizerConfig, scheme: ElitistScheme[OptimizerGenome], evaluator: Evaluator, trained: int
) -> dict[str, Any]:
    statistics = tools.Statistics(lambda ind: ind.fitness.score)
    for name in ("mean", "median", "std", "min"):
        statistics.register(name, getattr(np, name))
    best = max(scheme.population, key=lambda ind: (ind.fitness, -ind.id))
    runs = evaluator.runs_of(best)
    terms = Counter(name for ind in scheme.population for name in ind.genome.terms)
    outcomes = Counter(run.result.outcome for ind in scheme.population for run in evaluator.runs_of(ind))
    summary = statistics.compile(scheme.population)
    return {
        "generation": scheme.generation,
        "trainings": trained,
        "best": best.fitness.score,
        **{name: float(summary[name]) for name in ("mean", "median", "std", "min")},
        "outcomes": {name: count / outcomes.total() for name, count in sorted(outcomes.items())},
        "best_id": best.id,
        "best_tasks": task_scores(config.evaluation.fitness, runs, config.evaluation.tasks) if runs else {},
        "terms": dict(sorted(terms.items())),
        "mean_length": float(np.mean([len(ind.genome.terms) for ind in scheme.population])),
    }


def _name_winner(config: OptimizerConfig, evaluator: Evaluator, hall: tools.HallOfFame) -> dict[str, Any]:
    finalists: list[OptimizerIndividual] = list(hall)[: config.search.finalists]
    if config.evaluation.fitness == "noise" or not finalists:
        best = hall[0]
        return {**_portrait(best), "final": None, "finalists": []}
    values = evaluator.score_finalists(finalists)
    fitness = [type(ind.fitness)(value) for ind, value in zip(finalists, values, strict=True)]
    order = sorted(range(len(finalists)), key=lambda k: (fitness[k], -k), reverse=True)
    rows = [
        {
            **_portrait(finalists[k]),
            "final": {"unfinished_rate": values[k][0], "score": values[k][1], "loss": values[k][2]},
        }
        for k in order
    ]
    return {**rows[0], "finalists": rows}


def _portrait(ind: OptimizerIndividual) -> dict[str, Any]:
    return {**portrait(ind), "search_fitness": ind.fitness.score, "search_replicates": ind.replicates}
