"""Noise runs of an optimizer search: terms and genes where random numbers select."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from evoopt.report.noise_runs import Drift, Measures, drift, sizes
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.genes import gene_measures
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.scheme import rule_generations


def optimizer_drift(config: OptimizerConfig, generations: int) -> Drift:
    """Noise runs of an optimizer search, measured like `optimizer_measures`."""
    search = config.search
    runs, population = sizes(search.population, generations, least=search.elites + search.tournament)

    def noise_run(seed: int) -> Iterable[Measures]:
        section = search.model_copy(update={"seed": seed, "population": population})
        rules = rule_generations(config.model_copy(update={"search": section}))
        rng = np.random.default_rng(seed)
        created = rules.population
        for generation in range(generations):
            yield optimizer_measures(
                [ind.genome for ind in rules.population], [ind.genome for ind in created]
            )
            if generation < generations - 1:
                for ind, value in zip(rules.population, rng.normal(size=population), strict=True):
                    ind.fitness.values = (0.0, float(value), 0.0)
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
