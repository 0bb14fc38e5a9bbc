"""Noise runs over hyperparameters: their values where random numbers select."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from evoopt.optim.rule import is_number
from evoopt.report.noise_runs import Drift, Measures, drift, sizes
from evoopt.systems.hyperparameters.config import RecombinationConfig
from evoopt.systems.hyperparameters.generations import HyperparameterGenerations


def hyperparameter_drift(config: RecombinationConfig, generations: int) -> Drift:
    """Noise runs over hyperparameters, measured like `hyperparameter_measures`."""
    section = config.recombination
    unit = section.demes * 2
    runs, population = sizes(section.population, generations, least=unit)
    population -= population % unit if population < section.population else 0

    def noise_run(seed: int) -> Iterable[Measures]:
        drawn = section.model_copy(update={"seed": seed, "population": population})
        members = HyperparameterGenerations.of(drawn, config.loci())
        rng = np.random.default_rng(seed)
        for generation in range(generations):
            yield hyperparameter_measures([ind.genome.values() for ind in members.population])
            if generation < generations - 1:
                members.score(rng.normal(size=population).tolist())
                members.breed()

    return drift(noise_run, runs, population, config.seed)


def hyperparameter_measures(members: Sequence[Mapping[str, object]]) -> dict[str, float]:
    """Median of each number, and share of each choice, among the members of a generation."""
    measures: dict[str, float] = {}
    for name, first in members[0].items():
        values = [hyperparameters[name] for hyperparameters in members]
        if is_number(first):
            measures[name] = float(np.median(np.array(values, np.float64)))
        else:
            counts = Counter(map(str, values))
            measures.update({f"{name} = {choice}": n / len(values) for choice, n in counts.items()})
    return measures
