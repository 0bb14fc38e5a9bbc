"""What a search that learns nothing does to terms and genes: runs with random numbers for fitness.

They use the run's own operators, selection and sizes, and train nothing. Where the run does not leave the
band of these noise runs, its frequencies are no evidence of selection.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


def sizes(population: int, generations: int, least: int) -> tuple[int, int]:
    """Number of noise runs and their population, which must have at least ``least``, for a few seconds."""
    runs = min(RUNS, max(FEWEST_RUNS, BIRTHS // (population * generations)))
    return runs, max(min(population, least), min(population, BIRTHS // (runs * generations)))


def drift(noise_run: Callable[[int], Iterable[Measures]], runs: int, population: int, root: int) -> Drift:
    """Do noise runs, each from a seed of its own."""
    histories = [list(noise_run(derive_seed(root, _NOISE, k))) for k in range(runs)]
    names = dict.fromkeys(name for history in histories for measures in history for name in measures)
    bands = {}
    for name in names:
        absent = 0.0 if name.startswith("term ") or " = " in name else math.nan  # of a share
        table = np.array([[measures.get(name, absent) for measures in history] for history in histories])
        bands[name] = Band(*(tuple(np.nanpercentile(table, q, axis=0).tolist()) for q in (5, 50, 95)))
    return Drift(runs, population, bands)
