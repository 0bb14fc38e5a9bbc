"""The best rule of a run that may be unfinished."""

from __future__ import annotations

from typing import Any

from evoopt.evolution.individual import Individual
from evoopt.runs.run import Run
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome

BASELINE = "baseline"
"""Name under which the store keeps the tuned baseline."""


def best_of(run: Run) -> dict[str, Any] | None:
    """The winner; in an unfinished run the newest generation's best; None before there is any."""
    winner: dict[str, Any] | None = run.store.winner()
    records = run.generations
    if winner is not None or not records:
        return winner
    ind = run.store.individual(records[-1]["best_id"])
    if "best_genome" in records[-1]:  # its rate has moved since it was created
        ind.genome = OptimizerGenome.from_json(records[-1]["best_genome"])
    return {**portrait(ind), "search_fitness": records[-1]["best"], "final": None}


def baseline_of(run: Run) -> dict[str, dict[str, Any]]:
    """The tuned baseline of a run, if any: by task its name, rule, setting in words, validation metric."""
    return run.store.meta(BASELINE) or {}


def portrait(ind: Individual[OptimizerGenome]) -> dict[str, Any]:
    """What is said of an individual: number, genome and rule, as JSON."""
    rule = ind.genome.rule().canonical()
    return {
        "id": ind.id,
        "key": ind.genome.key,
        "genome": ind.genome.to_json(),
        "rule": rule.to_json(),
        "formula": rule.formula(),
    }
