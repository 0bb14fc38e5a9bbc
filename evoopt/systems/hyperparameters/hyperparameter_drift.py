"""Noise runs over hyperparameters: their values where random numbers select."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from evoopt.optim.rule import is_number
from evoopt.report.noise_runs import Drift, Measures, drift, sizes
from evoopt.systems.hyperparameters.config import RecombinationConfig
from evoopt.systems.hyperparameters.generations import HyperparameterGenerations
from evoopt.systems.hyperparameters.hyperparameter_space import HyperparameterSpace
from evoopt.systems.hyperparameters.loci import NumberLocus


def hyperparameter_drift(config: RecombinationConfig, generations: int) -> Drift:
    """Noise runs over hyperparameters, measured like `hyperparameter_measures`."""
    section = config.recombination
    demes, space = section.demes, config.loci()
    least = 2 if demes == 1 else demes * (section.migrants + 1)
    runs, population = sizes(section.population, generations, least)
    population -= population % demes

    def noise_run(seed: int) -> Iterable[Measures]:
        drawn = section.model_copy(update={"seed": seed, "population": population})
        members = HyperparameterGenerations.of(drawn, space)
        rng = np.random.default_rng(seed)
        for generation in range(generations):
            yield hyperparameter_measures([ind.genome.values() for ind in members.population], space)
            if generation < generations - 1:
                members.score(rng.normal(size=population).tolist())
                members.breed()

    return drift(noise_run, runs, population, config.seed)


def hyperparameter_measures(
    members: Sequence[Mapping[str, object]], space: HyperparameterSpace
) -> dict[str, float]:
    """Median of each number, and share of each choice, among the members of a generation."""
    measures: dict[str, float] = {}
    for locus in space.loci:
        name, values = locus.name, [hyperparameters[locus.name] for hyperparameters in members]
        if isinstance(locus, NumberLocus) or all(map(is_number, locus.choices)):
            measures[name] = float(np.median(np.array(values, np.float64)))
        else:
            counts = Counter(map(str, values))
            measures.update({f"{name} = {choice}": n / len(values) for choice, n in counts.items()})
    return measures
