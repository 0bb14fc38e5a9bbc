"""The best rule of a run that may be unfinished."""

from __future__ import annotations

from typing import Any, get_args

from evoopt.evolution.individual import Individual
from evoopt.runs.finalists import Preference, preferred
from evoopt.runs.run import Run
from evoopt.runs.store import BASELINE
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome


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


def front_of(run: Run) -> list[dict[str, Any]]:
    """The front of a search by NSGA-II, the best first: of its final, or of the newest generation.

    Each has ``id``, ``formula``, ``search_fitness``, ``score`` on fresh seeds (None before the final),
    ``bytes_per_weight``, ``passes`` and ``preferred``, by what if anything. Empty for another search.
    """
    winner, records = run.store.winner(), run.generations
    if winner is None or not winner["finalists"]:
        newest = records[-1].get("front", []) if records else []
        rules = {ind.id: ind.genome.rule() for ind in run.store.individuals([row[0] for row in newest])}
        return [
            {
                "id": number, "formula": rules[number].canonical().formula(3), "search_fitness": fitness,
                "score": None, "bytes_per_weight": memory, "passes": passes, "preferred": "",
            }
            for number, fitness, memory, passes in newest
        ]  # fmt: skip
    rows = [row for row in winner["finalists"] if row.get("front")]
    ids = {name: preferred(winner["finalists"], name)["id"] for name in get_args(Preference)} if rows else {}
    return [
        {
            **{name: row[name] for name in ("id", "formula", "search_fitness")},
            "score": row["final"]["score"],
            **row["costs"],
            "preferred": ", ".join(name for name, number in ids.items() if number == row["id"]),
        }
        for row in rows
    ]
