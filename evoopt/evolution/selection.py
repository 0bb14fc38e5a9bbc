"""Selection of parents: who is chosen follows from the fitness of all, higher is better.

Those that a space file can name choose indices and stand in `SELECTIONS`, in one line each. NaN stands for no
score: such an individual is chosen only where nobody has one, or by a tournament without others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
from deap import base, tools
from numpy.typing import NDArray

from evoopt.errors import EvooptError, unknown_name
from evoopt.evolution.deap_random import DeapRandom

T = TypeVar("T")

Scores = NDArray[np.float64]
Selection = Callable[[Scores, int, np.random.Generator], list[int]]
"""Chooses ``k`` indices, repeats allowed, from the scores ``[n]``."""


def best_first(fitness: Scores) -> NDArray[np.int64]:
    """Indices from best to worst, earlier ones first among equals, NaN last."""
    return np.argsort(-np.where(np.isnan(fitness), -np.inf, fitness), kind="stable")


def shares(fitness: Scores) -> Scores:
    """Probabilities proportional to fitness (Esfahanian and Akhavan 2019, eq. 1), uniform if all are 0.

    Raises:
        EvooptError: Negative fitness, of which there are no proportions.
    """
    positive = np.where(np.isnan(fitness), 0.0, fitness)
    if positive.min() < 0:
        raise EvooptError(
            "selection 'scan' and 'roulette' need a fitness of at least 0; use 'tournament' with this one"
        )
    total = positive.sum()
    return positive / total if total > 0 else np.full(len(positive), 1 / len(positive))


def scan(fitness: Scores, k: int, rng: np.random.Generator) -> list[int]:
    """Walk from the best to the worst and take the first whose share exceeds a fresh number from U(0, 1).

    Each of the ``k`` walks starts at the best, and again when it took nobody. This is what Esfahanian and
    Akhavan (2019) describe; it is *not* proportional: the i-th best is
    taken with probability P_i prod_{j before i} (1 - P_j), divided by the sum of these.
    """
    order = best_first(fitness)
    ranked = shares(fitness)[order]
    chosen: list[int] = []
    while len(chosen) < k:
        taken = np.flatnonzero(rng.random(len(ranked)) < ranked)
        chosen += order[taken[:1]].tolist()
    return chosen


def roulette(fitness: Scores, k: int, rng: np.random.Generator) -> list[int]:
    """Exactly proportional to fitness: `deap.tools.selRoulette`."""
    return _by_deap(tools.selRoulette, shares(fitness), k, rng)


def tournament(fitness: Scores, k: int, rng: np.random.Generator, tournsize: int = 3) -> list[int]:
    """The best of ``tournsize`` drawn uniformly with replacement: `deap.tools.selTournament`."""
    ranked = np.where(np.isnan(fitness), -np.inf, fitness)
    return _by_deap(partial(tools.selTournament, tournsize=tournsize), ranked, k, rng)


SELECTIONS: dict[str, Selection] = {"scan": scan, "roulette": roulette, "tournament": tournament}
"""Selections by name."""


def get_selection(name: str) -> Selection:
    """Find a selection.

    Raises:
        EvooptError: Unknown name.
    """
    if name not in SELECTIONS:
        raise unknown_name("selection", name, SELECTIONS)
    return SELECTIONS[name]


def choose_proportional(fitness: Scores, rng: np.random.Generator) -> int:
    """Draw an index with probability proportional to fitness; equally likely if all have none."""
    total = np.cumsum(fitness if fitness.sum() > 0 else np.ones(len(fitness)))
    return int(np.searchsorted(total, rng.random() * total[-1], side="right"))


def sel_tournament_distinct(individuals: Sequence[T], k: int, tournsize: int) -> list[T]:
    """Tournament selection whose contestants are drawn without replacement (Marfinetz 2025, notebook).

    `deap.tools.selTournament` draws them with replacement.

    Args:
        individuals: Scored individuals.
        k: Number of winners to return.
        tournsize: Contestants per tournament, at most ``len(individuals)``.
    """
    return [max(random.sample(individuals, tournsize), key=attrgetter("fitness")) for _ in range(k)]


class _Score(base.Fitness):  # type: ignore[misc]
    weights = (1.0,)


@dataclass
class _Candidate:
    index: int
    fitness: _Score = field(default_factory=_Score)


def _by_deap(select: Callable[..., Any], fitness: Scores, k: int, rng: np.random.Generator) -> list[int]:
    candidates = [_Candidate(index, _Score((float(value),))) for index, value in enumerate(fitness)]
    with DeapRandom(int(rng.integers(2**63))).active():
        return [candidate.index for candidate in select(candidates, k)]
