"""What a search that learns nothing does to terms and genes: runs with random numbers for fitness.

They use the run's own operators, selection and sizes, and train nothing. Where the run does not leave the
band of these noise runs, its frequencies are no evidence of selection.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evoopt.evolution.individual import Individual
from evoopt.systems.hyperparameters.assembly import make_generations
from evoopt.systems.hyperparameters.config import RecombinationConfig
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.genes import gene_measures
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.optimizer_toolbox import optimizer_toolbox
from evoopt.systems.optimizer.scheme import ElitistScheme
from evoopt.training.plan import derive_seed

RUNS, FEWEST_RUNS = 20, 8
BIRTHS = 24_000
"""Most individuals that the noise runs make together; a few seconds."""

_NOISE = 601

Floats = NDArray[np.float64]
Measures = Mapping[str, float]
"""Shares and medians of a generation, by name."""


@dataclass(frozen=True)
class Band:
    """Where the noise runs are, generation by generation.

    Attributes:
        low: 5th percentile of the runs.
        middle: Median.
        high: 95th percentile.
    """

    low: tuple[float, ...]
    middle: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Drift:
    """The outcome of the noise runs.

    Attributes:
        runs: How many there were.
        population: Their population, at most that of the run.
        bands: By measure.
    """

    runs: int
    population: int
    bands: Mapping[str, Band]

    def describe(self, population: int) -> str:
        """What the band is, given the run's own population."""
        text = f"Grey: the middle 90 % of {self.runs} noise runs, which select by random numbers."
        if self.population < population:
            text += (
                f" They have {self.population} individuals instead of {population:,} to be done in seconds; "
                "a larger population drifts less."
            )
        return text


def optimizer_drift(config: OptimizerConfig, generations: int) -> Drift:
    """Noise runs of an optimizer search, measured like `optimizer_measures`."""
    toolbox, seeds = optimizer_toolbox(config)
    search = config.search
    runs, population = _sizes(search.population, generations, least=search.elites + search.tournament)

    def noise_run(seed: int) -> Iterable[Measures]:
        section = search.model_copy(update={"seed": seed, "population": population})
        scheme: ElitistScheme[OptimizerGenome]
        scheme = ElitistScheme(toolbox, section, config.evaluation.replicates, seeds)
        rng = np.random.default_rng(seed)
        created = scheme.population
        for generation in range(generations):
            yield optimizer_measures(
                [ind.genome for ind in scheme.population], [ind.genome for ind in created]
            )
            if generation < generations - 1:
                _score_at_random(scheme.population, rng)
                created = scheme.tell()

    return _drift(noise_run, runs, population, config.seed)


def recombination_drift(config: RecombinationConfig, generations: int) -> Drift:
    """Noise runs over hyperparameters, measured like `hyperparameter_measures`."""
    section = config.recombination
    unit = section.demes * 2
    runs, population = _sizes(section.population, generations, least=unit)
    population -= population % unit if population < section.population else 0

    def noise_run(seed: int) -> Iterable[Measures]:
        own = section.model_copy(update={"seed": seed, "population": population})
        scheme = make_generations(own, config.loci())
        rng = np.random.default_rng(seed)
        for generation in range(generations):
            yield hyperparameter_measures([ind.genome.values() for ind in scheme.population])
            if generation < generations - 1:
                scheme.score(rng.normal(size=population).tolist())
                scheme.breed()

    return _drift(noise_run, runs, population, config.seed)


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


def hyperparameter_measures(members: Sequence[Mapping[str, object]]) -> dict[str, float]:
    """Median of each number, and share of each choice, among the members of a generation."""
    found: dict[str, float] = {}
    for name, first in members[0].items():
        values = [own[name] for own in members]
        if isinstance(first, int | float) and not isinstance(first, bool):
            found[name] = float(np.median(np.array(values, np.float64)))
        else:
            counts = Counter(map(str, values))
            found.update({f"{name} = {choice}": n / len(values) for choice, n in counts.items()})
    return found


def _score_at_random(population: Sequence[Individual[OptimizerGenome]], rng: np.random.Generator) -> None:
    for ind, value in zip(population, rng.normal(size=len(population)), strict=True):
        ind.fitness.values = (0.0, float(value), 0.0)


def _sizes(population: int, generations: int, least: int) -> tuple[int, int]:
    runs = min(RUNS, max(FEWEST_RUNS, BIRTHS // (population * generations)))
    return runs, max(min(population, least), min(population, BIRTHS // (runs * generations)))


def _drift(noise_run: Callable[[int], Iterable[Measures]], runs: int, population: int, root: int) -> Drift:
    histories = [list(noise_run(derive_seed(root, _NOISE, k))) for k in range(runs)]
    names = dict.fromkeys(name for history in histories for own in history for name in own)
    bands = {}
    for name in names:
        absent = 0.0 if _is_share(name) else math.nan
        table = np.array([[own.get(name, absent) for own in history] for history in histories])
        bands[name] = Band(*(tuple(np.nanpercentile(table, q, axis=0).tolist()) for q in (5, 50, 95)))
    return Drift(runs, population, bands)


def _is_share(name: str) -> bool:
    return name.startswith("term ") or " = " in name
