"""The published operators on optimizer genomes (Marfinetz 2025): every constant, by exact tests."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from deap import base
from scipy import stats

from evoopt.config import load_space
from evoopt.evolution.elitist import Elitism, ElitistGenerations
from evoopt.jobs.records import Evaluation
from evoopt.optim.terms import PAPER_TERMS
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.literal import LiteralOperators
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.optimizer_space import OptimizerSpace
from evoopt.systems.optimizer.scheme import optimizer_toolbox
from evoopt.systems.optimizer.scores import fitness_values
from evoopt.training.plan import TrainingPlan, TrainingResult
from tests.chance import frequent, normal, uniform

LITERAL = LiteralOperators(OptimizerSpace(terms=PAPER_TERMS))
DRAWS = 4000
FLAGS = ("use_m", "use_v", "use_bias_correction", "use_gradient_clipping", "use_warmup", "use_cosine_decay")
GENES = {  # initial range, step of a mutation in sigmas, bounds
    "lr_log10": ((-4, -2), 1.0, (-5, -1)),
    "beta1": ((0.5, 0.99), 0.2, (0, 0.999)),
    "beta2": ((0.9, 0.9999), 0.1, (0, 0.9999)),
    "eps_log10": ((-9, -6), 1.0, (-10, -4)),
    "wd_log10": ((-5, -3), 1.0, (-6, -2)),
}
PARENT = OptimizerGenome(
    ("grad", "adam"), (1e-3, -1e-3), lr_log10=-3.0, beta1=0.5, beta2=0.5, eps_log10=-7.0, wd_log10=-4.0,
    clip_value=0.77, warmup_steps=123,
)  # fmt: skip


@cache
def drawn() -> tuple[OptimizerGenome, ...]:
    rng = np.random.default_rng(1)
    return tuple(LITERAL.random(rng) for _ in range(DRAWS))


@cache
def mutants(progress: float = 0.0, **genes: Any) -> tuple[OptimizerGenome, ...]:
    rng, parent = np.random.default_rng(2), replace(PARENT, **genes)
    return tuple(LITERAL.mutate(parent, rng, progress) for _ in range(DRAWS))


def all_of(genomes: Sequence[OptimizerGenome], gene: str) -> list[Any]:
    return [getattr(genome, gene) for genome in genomes]


@pytest.mark.parametrize("gene", [*GENES, "clip_value"])
def test_numbers_of_a_random_genome_are_uniform(gene: str) -> None:
    assert uniform(all_of(drawn(), gene), *GENES.get(gene, ((0.5, 2),))[0])


def test_lengths_terms_weights_and_warmups_of_a_random_genome_are_uniform() -> None:
    for values, choices in (
        ([len(genome.terms) for genome in drawn()], range(1, 4)),
        ([name for genome in drawn() for name in genome.terms], PAPER_TERMS),
        (all_of(drawn(), "warmup_steps"), range(50, 201)),
    ):
        counts = Counter(values)
        assert set(counts) == set(choices)
        assert stats.chisquare(list(counts.values())).pvalue > 1e-6
    assert uniform([weight for genome in drawn() for weight in genome.weights], -1, 1)


@pytest.mark.parametrize(("flag", "share"), [*zip(FLAGS, (0.7, 0.7, 0.6, 0.2, 0.3, 0.3), strict=True)])
def test_switches_of_a_random_genome_are_on_as_often_as_published(flag: str, share: float) -> None:
    assert frequent(all_of(drawn(), flag), share)
    assert all(genome.use_weight_decay for genome in drawn())


def test_the_first_four_genomes_are_the_published_ones() -> None:
    plain: dict[str, Any] = {"nesterov_beta": None, "beta1": 0.9, "beta2": 0.999, "eps_log10": -8.0}
    switched = {"use_gradient_clipping": False, "use_warmup": False, "use_cosine_decay": False}
    adam = OptimizerGenome(
        ("adam",), (1.0,), lr_log10=-3.0, wd_log10=-4.0, use_m=True, use_v=True, use_bias_correction=True,
        clip_value=1.0, warmup_steps=100, use_weight_decay=True, **plain, **switched,
    )  # fmt: skip
    assert LITERAL.seeds() == (
        replace(adam, terms=("momentum",), lr_log10=-2.0, use_v=False, use_bias_correction=False),
        adam,
        replace(adam, wd_log10=-2.0),
        replace(adam, terms=("rms_norm",), beta2=0.99, use_m=False, use_bias_correction=False),
    )


@pytest.mark.parametrize("progress", [0.0, 1.0])
@pytest.mark.parametrize("gene", GENES)
def test_a_number_moves_as_often_and_as_far_as_published(gene: str, progress: float) -> None:
    d, start = 1 - 0.5 * progress, getattr(PARENT, gene)
    moves = [value - start for value in all_of(mutants(progress), gene)]
    assert frequent([move != 0 for move in moves], 0.35 * d)
    assert normal([move for move in moves if move], GENES[gene][1] * 0.3 * d)


@pytest.mark.parametrize("end", [0, 1])
def test_numbers_and_weights_are_clipped_at_the_published_bounds(end: int) -> None:
    bounds = {gene: row[2][end] for gene, row in GENES.items()}
    weight = (-5.0, 5.0)[end]
    found = mutants(terms=("grad",), weights=(weight,), **bounds)
    for gene, bound in bounds.items():  # half of the moves from a bound would lead beyond it
        assert frequent([value == bound for value in all_of(found, gene)], 1 - 0.35 / 2)
    assert frequent([mutant.weights[0] == weight for mutant in found], 1 - 0.35 / 2)


@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_weights_are_scaled_as_often_and_as_far_as_published(progress: float) -> None:
    d = 1 - 0.5 * progress
    of_two = [mutant.weights for mutant in mutants(progress) if len(mutant.terms) == 2]
    scaled = [weight / was for pair in of_two for weight, was in zip(pair, PARENT.weights, strict=True)]
    assert frequent([factor != 1 for factor in scaled], 0.35 * d)
    assert normal([math.log(factor) for factor in scaled if factor != 1], 0.3 * d)


@pytest.mark.parametrize("progress", [0.0, 1.0])
@pytest.mark.parametrize("flag", FLAGS)
def test_every_switch_flips_as_often_as_published(flag: str, progress: float) -> None:
    flipped = [getattr(mutant, flag) != getattr(PARENT, flag) for mutant in mutants(progress)]
    assert frequent(flipped, 0.1 * (1 - 0.5 * progress))


def test_what_never_mutates_never_does() -> None:
    for mutant in mutants():
        assert (mutant.clip_value, mutant.warmup_steps, mutant.use_weight_decay) == (0.77, 123, True)


@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_terms_are_added_removed_and_changed_equally_often(progress: float) -> None:
    p = 0.15 * (1 - 0.5 * progress) / 3
    lengths = {length: PAPER_TERMS[:length] for length in (1, 2, 4)}
    for length, terms in lengths.items():
        found = mutants(progress, terms=terms, weights=(1e-3,) * length)
        assert frequent([len(mutant.terms) > length for mutant in found], p if length < 4 else 0)
        assert frequent([len(mutant.terms) < length for mutant in found], p if length > 1 else 0)
        other = [len(mutant.terms) == length and mutant.terms != terms for mutant in found]
        assert frequent(other, p * 6 / 7)
        varied = p * ((length < 4) + (length > 1) + 6 / 7)
        assert frequent([mutant.terms != terms for mutant in found], varied), "each operation is one of three"
    added = [mutant for mutant in mutants(progress) if len(mutant.terms) == 3]
    assert uniform([mutant.weights[2] for mutant in added], -1, 1)
    assert set(all_of(added, "terms")) == {(*PARENT.terms, name) for name in PAPER_TERMS}
    changed = [m for m in mutants(progress) if len(m.terms) == 2 and m.terms != PARENT.terms]
    assert max(abs(weight) for mutant in changed for weight in mutant.weights) < 0.01, "weights stay"


def test_crossover_is_of_heads_and_tails_and_picks_every_other_gene_by_a_fair_coin() -> None:
    rng = np.random.default_rng(3)
    a = OptimizerGenome(PAPER_TERMS[:3], (1.0, 2.0, 3.0))
    b = OptimizerGenome(
        PAPER_TERMS[3:7], (4.0, 5.0, 6.0, 7.0), lr_log10=-1.5, beta1=0.1, beta2=0.2, eps_log10=-5.0,
        wd_log10=-2.5, clip_value=2.0, warmup_steps=60, use_m=False, use_v=False, use_bias_correction=False,
        use_gradient_clipping=True, use_warmup=True, use_cosine_decay=True,
    )  # fmt: skip
    children = [LITERAL.mate(a, b, rng) for _ in range(DRAWS)]
    expected = Counter((a.weights[:i] + b.weights[j:])[:4] for i in (1, 2, 3) for j in range(4))
    found = Counter(child.weights for child in children)
    assert set(found) == set(expected)
    for weights, ways in expected.items():
        assert frequent([child.weights == weights for child in children], ways / 12)
    for gene in (*GENES, "clip_value", "warmup_steps", *FLAGS):
        assert frequent([value == getattr(b, gene) for value in all_of(children, gene)], 0.5)
    of_one = OptimizerGenome(("adam",), (9.0,))
    assert {LITERAL.mate(of_one, of_one, rng).weights for _ in range(50)} == {(9.0, 9.0)}


def test_mutation_anneals_from_generation_0_on() -> None:
    """Children are first made in generation 0 of 50 with d = 1, and last in 48 with d = 0.52."""
    told: list[float] = []

    def mutate(genome: OptimizerGenome, rng: np.random.Generator, progress: float) -> OptimizerGenome:
        told.append(1 - 0.5 * progress)
        return genome

    toolbox = base.Toolbox()
    toolbox.register("random", LITERAL.random)
    toolbox.register("mate", lambda a, b, rng: a)
    toolbox.register("mutate", mutate)
    toolbox.register("select", lambda individuals, k: individuals[:k])
    elitism = Elitism(4, 3, 50, 42, max_replicates=0)
    generations = ElitistGenerations(toolbox, elitism, OptimizerGenome.from_json)
    for _ in range(49):
        for k, ind in enumerate(generations.population):
            ind.fitness.values = (0.0, float(k), 0.0)
        generations.breed()
    assert told == pytest.approx([1 - 0.5 * k / 50 for k in range(49)])
    assert told[0] == 1
    assert told[-1] == pytest.approx(0.52)


def test_fitness_is_the_published_one() -> None:
    def run(task: str, seed: int, outcome: Any = "ok", train_loss: float = 0.4) -> Evaluation:
        scores = (train_loss, 0.5, 0.9) if outcome == "ok" else (math.nan,) * 3
        return Evaluation(
            0, 0, 0, "rule", task, seed, 0, seed, "batched", TrainingResult(outcome, "", 500, *scores, 0.0)
        )

    def rated(*runs: Evaluation) -> tuple[float, float, float]:
        return fitness_values("paper", runs, ("a", "b"))

    good = [run("a", 0), run("a", 1), run("b", 0)]
    assert rated(*good) == (0.0, pytest.approx(0.9 + 0.05 * 0.6), 0.0)
    assert rated(*good, run("b", 1, train_loss=7.0))[1] == pytest.approx((0.93 + (0.93 + 0.9) / 2) / 2)
    assert rated(*good, run("b", 1, "diverged"))[1] == pytest.approx((0.93 + (0.93 - 1) / 2) / 2)
    assert rated(*good, run("b", 1, "failed"))[1] == -1
    assert (TrainingPlan.max_loss, TrainingPlan.window) == (50, 50)


def test_contestants_are_four_different_ones() -> None:
    config = load_space("marfinetz2025")
    assert isinstance(config, OptimizerConfig)
    toolbox, seeds = optimizer_toolbox(config)
    assert len(seeds) == 4

    class Ranked:
        def __init__(self, fitness: int) -> None:
            self.fitness = fitness

    chosen = toolbox.select([Ranked(k) for k in range(10)], DRAWS)
    for rank in range(10):
        expected = math.comb(rank, 3) / math.comb(10, 4)
        assert frequent([ind.fitness == rank for ind in chosen], expected)
