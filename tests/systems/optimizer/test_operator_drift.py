"""With noise for fitness the published operators drift and the robust ones do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from evoopt.optim import TERMS
from evoopt.optim.terms import PAPER_TERMS
from evoopt.systems.optimizer.literal import LiteralOperators
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.optimizer_space import OptimizerSpace
from evoopt.systems.optimizer.robust import RobustOperators

Operators = LiteralOperators | RobustOperators
RUNS = 12


def noise_runs(operators: Operators) -> Iterator[list[OptimizerGenome]]:
    """Final populations of the published scheme (50 x 50, 3 elites, tournament of 4)."""
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        population = [operators.random(rng) for _ in range(50)]
        for generation in range(1, 50):
            fitness = rng.normal(size=50)

            def winner(population=population, fitness=fitness, rng=rng) -> OptimizerGenome:  # type: ignore[no-untyped-def]
                contestants = rng.permutation(50)[:4]
                return population[contestants[np.argmax(fitness[contestants])]]

            children = [population[k] for k in np.argsort(-fitness)[:3]]
            while len(children) < 50:
                child = operators.mate(winner(), winner(), rng)
                children.append(operators.mutate(child, rng, (generation - 1) / 50))
            population = children
        yield population


def share_of_two_commonest(population: list[OptimizerGenome]) -> float:
    counts = Counter(name for genome in population for name in genome.terms)
    return sum(count for _, count in counts.most_common(2)) / counts.total()


def test_literal_operators_reproduce_the_published_drift() -> None:
    populations = list(noise_runs(LiteralOperators(OptimizerSpace(terms=PAPER_TERMS))))
    genomes = [genome for population in populations for genome in population]
    assert np.mean([len(genome.terms) == 4 for genome in genomes]) == pytest.approx(0.74, abs=0.06)
    assert np.mean([share_of_two_commonest(p) for p in populations]) == pytest.approx(0.90, abs=0.05)


def test_robust_operators_favour_no_length_and_no_term() -> None:
    populations = list(noise_runs(RobustOperators(OptimizerSpace())))
    # Genomes of one run are related, so the spread that counts is that between runs.
    lengths = np.array([np.mean([len(g.terms) for g in p]) for p in populations])
    assert abs(lengths.mean() - 2.5) < 3 * lengths.std(ddof=1) / np.sqrt(RUNS)
    for term in TERMS:
        expected = 2.5 / len(TERMS)
        per_genome = np.array([np.mean([term.name in g.terms for g in p]) for p in populations])
        assert abs(per_genome.mean() - expected) < 3.5 * per_genome.std(ddof=1) / np.sqrt(RUNS), term.name


def test_robust_variation_without_selection_keeps_lengths_and_terms_uniform() -> None:
    rng = np.random.default_rng(0)
    operators = RobustOperators(OptimizerSpace(), p_structure=0.3)
    population = [operators.random(rng) for _ in range(1500)]
    for _ in range(8):
        pairs = rng.permutation(1500).reshape(-1, 2)
        population = [
            operators.mutate(operators.mate(population[a], population[b], rng), rng)
            for a, b in (*pairs, *pairs)
        ]
    lengths = np.bincount([len(genome.terms) for genome in population], minlength=5)[1:]
    assert np.all(np.abs(lengths / 1500 - 0.25) < 0.06)
    counts = Counter(name for genome in population for name in genome.terms)
    shares = np.array([counts[term.name] for term in TERMS]) / counts.total()
    assert np.all(np.abs(shares - 1 / len(TERMS)) < 0.03)
