"""Figures of a search for an optimizer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from evoopt.jobs.records import FINAL_REPLICATE
from evoopt.report.common import values, values_x
from evoopt.report.evolution import around_mean, beside_noise, origin
from evoopt.report.figures import Lines, Panel, Series, Tree
from evoopt.report.noise_runs import Drift
from evoopt.report.pedigree import Ancestor, Pedigree, drawn, fitter, load_pedigree, tree
from evoopt.runs.run import Run
from evoopt.systems.optimizer.best_rule import best_of, front_of
from evoopt.systems.optimizer.config import config_of
from evoopt.systems.optimizer.optimizer_drift import genes_by_generation, optimizer_drift, term_shares
from evoopt.systems.optimizer.optimizer_genome import CONSTANTS, FLAGS

_SCORES = f"""
SELECT individuals.id, AVG(score) FROM individuals JOIN (
    SELECT key, task, AVG(metric) AS score FROM evaluations
    WHERE metric IS NOT NULL AND replicate < {FINAL_REPLICATE} GROUP BY key, task) USING (key)
GROUP BY individuals.id
"""


def fitness(run: Run) -> Lines:
    """Best, median and spread by generation."""
    records = run.generations
    series = (
        Series("best", values(records, "best")),
        *([Series("best in meta-validation", values(records, "meta"))] if "meta" in records[0] else []),
        Series("median", values(records, "median")),
        around_mean(records),
        Series("worst", values(records, "min"), role="extra"),
    )
    return Lines(
        (Panel(values_x(records), series, y_label="fitness"),),
        "Fitness as the search saw it: on few seeds, and the best of many, so the best is flattered. An "
        "elite's fitness moves as it is averaged over more seeds.",
    )


def front(run: Run) -> Lines:
    """Gain of the rules on the front by what they cost."""
    rows, panels = front_of(run), []
    costs = {"bytes_per_weight": "bytes of state per weight", "passes": "passes over memory per step"}
    for key, label in costs.items():
        placed = sorted(rows, key=lambda row: row[key])
        gains = [row["search_fitness"] if row["score"] is None else row["score"] for row in placed]
        series = (Series("gain", gains, role="points"),)
        panels.append(Panel([row[key] for row in placed], series, x_label=label, y_label="gain"))
    return Lines(
        tuple(panels),
        "Nobody is better, smaller and faster than one of these. Gain over the tuned baseline in standard "
        "deviations over its seeds, on fresh seeds once the search is finished. Costs are counted, not "
        "measured: what the operations of a step read and write, per weight.",
    )


def outcomes(run: Run) -> Lines:
    """Share of trainings that diverged, were stopped, or failed."""
    records = run.generations
    kinds = sorted({kind for record in records for kind in record["outcomes"]} - {"ok"} | {"diverged"})
    series = tuple(Series(kind, [record["outcomes"].get(kind, 0.0) for record in records]) for kind in kinds)
    return Lines(
        (Panel(values_x(records), series, y_label="share of trainings", percent=True),),
        "Trainings of the individuals of each generation that gave no score. Stopped: halved away, or "
        "refused because the update points uphill.",
    )


def tasks(run: Run) -> Lines:
    """Score of each generation's best individual, by task."""
    records = run.generations
    names = list(dict.fromkeys(name for record in records for name in record["best_tasks"]))
    series = tuple(
        Series(Path(name).name, [record["best_tasks"].get(name) for record in records]) for name in names
    )
    return Lines(
        (Panel(values_x(records), series, y_label="score"),), "Score of each generation's best, by task."
    )


def drift_of(run: Run) -> Drift:
    """Noise runs of the same search."""
    return optimizer_drift(config_of(run), len(run.generations))


def terms(run: Run, drift: Drift | None = None) -> Lines:
    """Share of each term among all places, beside the noise runs."""
    drift, records = drift or drift_of(run), run.generations
    shares = [term_shares(record["terms"]) for record in records]
    names = sorted({name for row in shares for name in row}, key=lambda name: -shares[-1].get(name, 0.0))
    panels = [
        Panel(
            values_x(records),
            beside_noise(drift, name, [row.get(name, 0.0) for row in shares]),
            name.removeprefix("term "),
            percent=True,
        )
        for name in names
    ]
    text = f"Share of the places in all genomes of a generation. {drift.describe(_population(run))}"
    return Lines(tuple(panels), text)


def genes(run: Run, drift: Drift | None = None) -> Lines:
    """Switches and numbers of the individuals born for each generation, beside the noise runs."""
    drift, measures = drift or drift_of(run), genes_by_generation(run)
    x = [float(g) for g in range(len(run.generations)) if g in measures]
    panels = [
        Panel(x, beside_noise(drift, name, [measures[int(g)][name] for g in x]), name, percent=name in FLAGS)
        for name in ("number of terms", *FLAGS, *CONSTANTS)
    ]
    return Lines(
        tuple(panels),
        "Of the individuals born for each generation: mean number of terms, share with a switch on, median "
        f"of a number. Silent genes count too. {drift.describe(_population(run))}",
    )


def scores(run: Run) -> dict[int, float]:
    """Mean metric over tasks of every individual that has one, in the search."""
    return dict(run.store.select(_SCORES))


def pedigree_of(run: Run, known: dict[int, float]) -> Pedigree:
    """Ancestry of the winner, or of the best so far."""
    best = best_of(run)
    assert best is not None, "a generation is finished"
    return load_pedigree(run, best["id"], fitter(known))


def genealogy(run: Run) -> Tree:
    """Ancestors of the winner."""
    known = scores(run)
    return draw_genealogy(run, pedigree_of(run, known), known)


def draw_genealogy(run: Run, pedigree: Pedigree, known: dict[int, float]) -> Tree:
    """The tree of a pedigree that is at hand already."""
    formula = formulas_of(run, drawn(pedigree))

    def describe(one: Ancestor) -> str:
        score = f"metric {known[one.id]:.4f}" if one.id in known else "no score"
        return f"{one.id}, generation {one.born}, {origin(one, one.operation)}, {score}: {formula[one.id]}"

    return tree(pedigree, describe, "from each individual to the fitter one of its parents")


def formulas_of(run: Run, numbers: Iterable[int]) -> dict[int, str]:
    """Canonical rules of individuals, in plain text."""
    individuals = run.store.individuals(list(numbers))
    return {ind.id: ind.genome.rule().canonical().formula(3) for ind in individuals}


def _population(run: Run) -> int:
    return config_of(run).search.population
