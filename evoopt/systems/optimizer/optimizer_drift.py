"""Frequencies of terms and genes in an optimizer search, and in noise runs of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from evoopt.report.noise_runs import Drift, Measures, drift, sizes
from evoopt.runs.run import Run
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.optimizer_genome import CONSTANTS, FLAGS, OptimizerGenome


def optimizer_drift(config: OptimizerConfig, generations: int) -> Drift:
    """Noise runs of an optimizer search, measured like `optimizer_measures`."""
    from evoopt.systems.optimizer.scheme import rule_generations  # by those alone who breed: it needs torch

    search = config.search
    # Equal steps of another form are too rare to move a band, and would take most of the time.
    evaluation = config.evaluation.model_copy(update={"equivalence": "form"})
    runs, population = sizes(search.population, generations, least=search.elites + search.tournament)

    def noise_run(seed: int) -> Iterable[Measures]:
        section = search.model_copy(update={"seed": seed, "population": population})
        rules = rule_generations(config.model_copy(update={"search": section, "evaluation": evaluation}))
        rng = np.random.default_rng(seed)
        created = rules.population
        for generation in range(generations):
            yield optimizer_measures(
                [ind.genome for ind in rules.population], [ind.genome for ind in created]
            )
            if generation < generations - 1:
                for ind, value in zip(rules.population, rng.normal(size=population), strict=True):
                    ind.fitness.values = (0.0, float(value), 0.0)
                    if search.survivors == "pareto":
                        ind.costs = (float(rng.normal()), float(rng.normal()))
                created = rules.breed()

    return drift(noise_run, runs, population, config.seed)


def term_shares(terms: Mapping[str, int]) -> dict[str, float]:
    """Share of each term among all places of a population's genomes."""
    total = sum(terms.values())
    return {f"term {name}": count / total for name, count in terms.items()}


def optimizer_measures(
    population: Sequence[OptimizerGenome], created: Sequence[OptimizerGenome]
) -> dict[str, float]:
    """Shares of terms in a population; genes of those born for it."""
    shares = term_shares(Counter(name for genome in population for name in genome.terms))
    return {**shares, **gene_measures([vars(genome) for genome in created])}


def gene_measures(genomes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean number of terms, share that has each switch on, median of each number.

    Silent genes count too: they are inherited like the others.
    """
    return {
        "number of terms": float(np.mean([len(genome["terms"]) for genome in genomes])),
        **{name: float(np.mean([genome[name] for genome in genomes])) for name in FLAGS},
        **{name: float(np.median([genome[name] for genome in genomes])) for name in CONSTANTS},
    }


def genes_by_generation(run: Run) -> dict[int, dict[str, float]]:
    """Measures of the individuals born for each generation."""
    rows = run.store.select("SELECT born, genome FROM individuals ORDER BY born, id")
    return {
        generation: gene_measures([json.loads(text) for _, text in individuals])
        for generation, individuals in groupby(rows, key=lambda row: int(row[0]))
    }
