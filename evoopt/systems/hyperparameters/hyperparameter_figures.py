"""Figures of an evolution of hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from evoopt.errors import EvooptError
from evoopt.optim.rule import is_number
from evoopt.report.common import Record, values, values_x
from evoopt.report.evolution import beside_noise, middle_half
from evoopt.report.figures import Lines, Panel, Series, Tree
from evoopt.report.pedigree import Ancestor, Pedigree, load_pedigree, tree
from evoopt.runs.run import Run
from evoopt.systems.hyperparameters.config import RecombinationConfig
from evoopt.systems.hyperparameters.hyperparameter_drift import (
    hyperparameter_drift,
    hyperparameter_measures,
)


def fitness(run: Run) -> Lines:
    """Figure of merit: best, median, and the middle half."""
    records = run.generations
    series = (
        Series("best", values(records, "best")),
        middle_half("median and middle half", [record["fom"] for record in records]),
        Series("best ever", values(records, "best_ever"), role="extra"),
    )
    panel = Panel(values_x(records), series, y_label=config_of(run).recombination.fom, log=True)
    return Lines((panel,), "Figure of merit on validation data, which also selects; lower is better.")


def failures(run: Run) -> Lines:
    """Share of members that failed."""
    records = run.generations
    rates = [record["failed"] / len(record["fom"]) for record in records]
    panel = Panel(values_x(records), (Series("failed", rates),), y_label="share of the members", percent=True)
    return Lines((panel,), "Members without a finite figure of merit; they are no parents.")


def schedule(run: Run) -> Lines:
    """Hyperparameters along the winner's weight lineage, beside those of the population."""
    if not has_schedule(run):
        raise EvooptError(
            f"{run.folder} has no schedule of numbers: it is not a run of population-based training"
        )
    records = run.generations
    path = _weight_lineage(records, _best_id(records))
    panels = []
    for name, first in records[0]["hyperparameters"][0].items():
        if not is_number(first):
            continue
        rows = [[values[name] for values in record["hyperparameters"]] for record in records]
        of_winner = [path[r["generation"]][name] if r["generation"] in path else None for r in records]
        series = (middle_half("population", rows, "reference"), Series("winner", of_winner))
        panels.append(Panel(values_x(records), series, name, log=_is_wide(series)))
    return Lines(
        tuple(panels),
        "What the winner's weights went through, generation by generation, up to its own. Grey: median and "
        "middle half of the population.",
    )


def hyperparameters(run: Run) -> Lines:
    """Medians of numbers and shares of choices by generation, beside noise runs."""
    records, config = run.generations, config_of(run)
    drift = hyperparameter_drift(config, len(records))
    space = config.loci()
    measured = [hyperparameter_measures(record["hyperparameters"], space) for record in records]
    panels = []
    for name in dict.fromkeys(name for measures in measured for name in measures):
        share = " = " in name
        y = [measures.get(name, 0.0 if share else math.nan) for measures in measured]
        series = beside_noise(drift, name, y)
        log = not share and _is_wide(series)
        panels.append(Panel(values_x(records), series, name, log=log, percent=share))
    text = drift.describe(config.recombination.population)
    return Lines(tuple(panels), f"Median of a number, share of a choice, among the members. {text}")


def genealogy(run: Run) -> Tree:
    """Ancestors of the winner."""
    pedigree, known = pedigree_of(run)
    return tree_of(run, pedigree, known)


def has_schedule(run: Run) -> bool:
    """Whether members train on, and some of their hyperparameters are numbers."""
    first = run.generations[0]["hyperparameters"][0]
    return config_of(run).recombination.inherits and any(map(is_number, first.values()))


def best_values(run: Run) -> dict[str, Any]:
    """Hyperparameters of the best ever."""
    number = _best_id(run.generations)
    return next(
        dict(values)
        for record in run.generations
        for one, values in zip(record["ids"], record["hyperparameters"], strict=True)
        if one == number
    )


def pedigree_of(run: Run) -> tuple[Pedigree, dict[int, float]]:
    """Ancestry of the best ever, and all figures of merit by individual."""
    records = run.generations
    known = {
        number: fom
        for record in records
        for number, fom in zip(record["ids"], record["fom"], strict=True)
        if fom is not None
    }
    inherits = config_of(run).recombination.inherits

    def main_parent(child: Ancestor, _: Mapping[int, Ancestor]) -> int:
        # The third parent gave the weights; where there are none to give, it gave nothing.
        if inherits:
            return child.parents[-1]
        return min(child.parents[:2], key=lambda parent: known.get(parent, math.inf))

    return load_pedigree(run, _best_id(records), main_parent), known


def tree_of(run: Run, pedigree: Pedigree, known: Mapping[int, float]) -> Tree:
    """The tree of a pedigree that is at hand already."""

    def describe(one: Ancestor) -> str:
        fom = f"{known[one.id]:.4g}" if one.id in known else "failed"
        return f"individual {one.id}, {origin(one)}: {fom}"

    inherits = config_of(run).recombination.inherits
    main = (
        "the way of the winner's weights"
        if inherits
        else "from each individual to the fitter one of its parents"
    )
    return tree(pedigree, describe, main)


def origin(one: Ancestor) -> str:
    """How an individual came to be."""
    if len(set(one.parents)) > 1:
        a, b, *alpha = one.parents
        weights = f", weights of {alpha[0]}" if alpha else ""
        return f"{one.operation} of {a} and {b}{weights}"
    return f"{one.operation} of {one.parents[0]}" if one.parents else one.operation


def config_of(run: Run) -> RecombinationConfig:
    """The run's configuration."""
    return cast(RecombinationConfig, run.config)


def _best_id(records: Sequence[Record]) -> int:
    scored = [record for record in records if record["best"] is not None]
    best = min(scored, key=lambda record: record["best"]) if scored else records[-1]
    return int(best["best_id"])


def _weight_lineage(records: Sequence[Record], number: int) -> dict[int, Mapping[str, Any]]:
    """Hyperparameters, by generation, of an individual and those whose weights it goes back to."""
    lineage: dict[int, Mapping[str, Any]] = {}
    for record in reversed(records):
        if number not in record["ids"]:
            continue
        position = record["ids"].index(number)
        lineage[record["generation"]] = record["hyperparameters"][position]
        *parents, _ = record["lineage"][position]
        number = parents[-1] if parents else -1
    return lineage


def _is_wide(lines: Sequence[Series]) -> bool:
    """Whether a logarithmic axis shows them better."""
    numbers = (x for line in lines for x in (*line.y, *(line.low or ()), *(line.high or ())))
    known = [x for x in numbers if x is not None and math.isfinite(x)]
    return bool(known) and min(known) > 0 and max(known) > 10 * min(known)
