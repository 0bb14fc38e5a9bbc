"""How many founders a population still descends from, by pedigree, beside what chance alone leaves of them.

A child has half of its genes from each of two parents, on average. An individual's share of a founder is the
mean of its parents' shares; the effective number of founders of a generation is ``1 / sum of squares`` of the
mean shares of those born in it (Lacy 1989).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from evoopt.report.blocks import Column, Table
from evoopt.report.common import Record
from evoopt.report.figures import Lines, Panel, Series
from evoopt.report.pedigree import Pedigree
from evoopt.runs.run import Run
from evoopt.systems.genetic.config import GeneticConfig
from evoopt.systems.genetic.succession import Scheme
from evoopt.training.plan import derive_seed

BIRTHS = 40_000
"""Individuals of a run that are followed, and of all noise runs together; a few seconds."""
RUNS, FEWEST_RUNS = 20, 5

_NOISE = 602

Shares = NDArray[np.float32]


def founders(run: Run) -> Lines:
    """Effective number of founders of each generation's newborns, beside noise runs."""
    section = cast(GeneticConfig, run.config).genetic
    rows = run.store.select("SELECT id, born, parents FROM individuals ORDER BY id LIMIT ?", BIRTHS)
    shares = founder_shares(rows, section.population)
    of_run = [effective(shares[born]) for born in sorted(shares)]
    noise = noise_runs(section.make_scheme(), run.generations, section.population, section.seed)
    count = max(len(of_run), len(noise[0]))
    low, middle, high = (_padded(np.percentile(np.array(noise), q, axis=0), count) for q in (5, 50, 95))
    series = (
        Series("noise runs", middle, low, high, "reference"),
        Series("this run", _padded(np.array(of_run), count)),
    )
    return Lines(
        (Panel([float(k) for k in range(count)], series, y_label="founders", log=True),),
        f"Effective number of the {section.population} founders that the genes of a generation's newborns "
        f"come from, by pedigree. Grey: the middle 90 % of {len(noise)} noise runs, whose fitness is random "
        "with the mean and spread of the run's. Below the band, selection narrowed the population more than "
        "chance does.",
    )


def founders_of(pedigree: Pedigree, known: Mapping[int, float]) -> Table:
    """Expected share that each founder has in the individual that a pedigree is of."""
    members = [pedigree.members[number] for number in sorted(pedigree.members)]
    roots = {one.id: k for k, one in enumerate(one for one in members if not one.parents)}
    shares: dict[int, Shares] = {}
    for one in members:
        shares[one.id] = (
            np.mean([shares[parent] for parent in one.parents], axis=0)
            if one.parents
            else np.eye(1, len(roots), roots[one.id], dtype=np.float32)[0]
        )
    final = shares[pedigree.main_line[0]]
    rows = sorted(
        ((number, known.get(number), float(final[k])) for number, k in roots.items()), key=lambda r: -r[2]
    )
    columns = (
        Column("founder", "d"), Column("its fitness", ".4f"), Column("expected share of the genes", ".1%"),
    )  # fmt: skip
    return Table(columns, rows, f"The {len(rows)} founders among the winner's ancestors", folded=True)


def effective(shares: Shares) -> float:
    """Effective number of founders of individuals ``[n, founders]``."""
    mean = shares.mean(axis=0, dtype=np.float64)
    return float(1 / (mean**2).sum())


def founder_shares(rows: Sequence[tuple[int, int, str]], founders: int) -> dict[int, Shares]:
    """Shares of the individuals born in each generation.

    Args:
        rows: Number, generation and parents (JSON) of individuals in order of birth; the founders first.
        founders: How many of them there are.
    """
    everyone = np.zeros((len(rows), founders), np.float32)
    generations: dict[int, list[int]] = {}
    for number, born, parents in rows:
        known = json.loads(parents)
        everyone[number] = everyone[known].mean(axis=0) if known else np.eye(1, founders, number)
        generations.setdefault(born, []).append(number)
    return {born: everyone[numbers] for born, numbers in generations.items()}


def noise_runs(scheme: Scheme, records: Sequence[Record], population: int, root: int) -> list[list[float]]:
    """Effective founders by generation of runs whose fitness is random.

    A newborn draws its fitness once, with the mean and the spread that its generation had in the run, and
    keeps it: so selection is as sharp as it was, and knows nothing.

    Returns:
        One list per run, all as long as `BIRTHS` allow.
    """
    generations = min(len(records), BIRTHS // (FEWEST_RUNS * population) + 1)
    runs = min(RUNS, max(FEWEST_RUNS, BIRTHS // (population * generations)))
    return [
        _noise_run(
            scheme, records[:generations], population, np.random.default_rng(derive_seed(root, _NOISE, k))
        )
        for k in range(runs)
    ]


def _noise_run(
    scheme: Scheme, records: Sequence[Record], population: int, rng: np.random.Generator
) -> list[float]:
    shares: Shares = np.eye(population, dtype=np.float32)
    fitness = _draw(records[0])(rng, population)
    effective_numbers = [effective(shares)]
    for record in records[1:]:
        draw, born = _draw(record), []
        for _ in range(scheme.broods(population)):
            children = scheme.breed(fitness, rng)
            rows = shares[np.array([child.parents for child in children])].mean(axis=1)
            scores = draw(rng, len(children))
            alive = scheme.survivors(fitness, scores)
            shares = np.concatenate([shares, rows])[alive]
            fitness = np.concatenate([fitness, scores])[alive]
            born.append(rows)
        effective_numbers.append(effective(np.concatenate(born)))
    return effective_numbers


def _draw(record: Record) -> Callable[[np.random.Generator, int], NDArray[np.float64]]:
    mean, spread = record.get("mean") or 0.0, record.get("std") or 0.0
    return lambda rng, size: np.maximum(rng.normal(mean, spread, size), 0.0)


def _padded(values: NDArray[np.float64], count: int) -> list[float | None]:
    return [*map(float, values), *[None] * (count - len(values))]
