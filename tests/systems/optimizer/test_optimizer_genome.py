"""The optimizer genome: decoding, JSON, search space, and operators that keep their promises."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoopt.errors import EvooptError
from evoopt.optim import PRESETS, TERMS
from evoopt.optim.terms import PAPER_TERMS
from evoopt.systems.optimizer.literal import PUBLISHED_SEEDS, LiteralOperators
from evoopt.systems.optimizer.optimizer_genome import CONSTANTS, FLAGS, OptimizerGenome
from evoopt.systems.optimizer.optimizer_space import DEFAULT_RANGES, OptimizerSpace
from evoopt.systems.optimizer.robust import RobustOperators

ROBUST = RobustOperators(OptimizerSpace(), initial=tuple(PRESETS))
LITERAL = LiteralOperators(OptimizerSpace(terms=PAPER_TERMS))
OPERATORS = {"robust": ROBUST, "literal": LITERAL}
SEEDS = st.integers(0, 2**32 - 1)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_the_way_through_a_genome(name: str) -> None:
    back = OptimizerGenome.from_rule(PRESETS[name]).rule()
    for field in ("lr", "eps", "weight_decay"):
        assert getattr(back, field) == pytest.approx(getattr(PRESETS[name], field), rel=1e-14)
    assert replace(back, lr=1.0, eps=1.0, weight_decay=0.0) == replace(
        PRESETS[name], lr=1.0, eps=1.0, weight_decay=0.0
    )


@given(SEEDS)
def test_json_round_trip_is_exact(seed: int) -> None:
    genome = ROBUST.random(rng(seed))
    assert OptimizerGenome.from_json(json.loads(json.dumps(genome.to_json()))) == genome


JSON_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(
    st.floats() | st.text(max_size=5) | st.booleans(), max_size=3
)  # fmt: skip


@given(field=st.sampled_from([*PUBLISHED_SEEDS[0].to_json(), "surprise"]), value=JSON_VALUES)
def test_a_damaged_file_gives_a_genome_or_a_clear_error(field: str, value: Any) -> None:
    try:
        OptimizerGenome.from_json({**PUBLISHED_SEEDS[0].to_json(), field: value})
    except EvooptError as error:
        assert "\n" not in str(error)


@given(SEEDS)
def test_silent_genes_do_not_change_the_key(seed: int) -> None:
    genome = replace(ROBUST.random(rng(seed)), use_gradient_clipping=False, use_warmup=False)
    assert replace(genome, clip_value=0.123, warmup_steps=77).key == genome.key


@given(SEEDS)
def test_robust_genomes_stay_inside_the_space(seed: int) -> None:
    space = OptimizerSpace(
        terms=("adam", "lion", "grad"),
        max_terms=2,
        ranges={"lr_log10": (-4, -2), "beta1": (0.5, 0.9), "warmup_steps": (5, 20), "weight": (0.1, 3)},
    )
    operators, generator = RobustOperators(space, p_number=0.9, p_structure=0.3, sigma=0.5), rng(seed)
    genome = operators.random(generator)
    for _ in range(20):
        genome = operators.mutate(genome, generator)
        genome = operators.mate(genome, operators.random(generator), generator)
        assert 1 <= len(genome.terms) == len(set(genome.terms)) <= 2
        assert set(genome.terms) <= set(space.terms)
        assert all(0.1 <= abs(weight) <= 3 for weight in genome.weights)
        for name in CONSTANTS:
            low, high = space.ranges[name]
            assert low <= getattr(genome, name) <= high


@pytest.mark.parametrize("name", OPERATORS)
@given(seed=SEEDS)
def test_operators_leave_parents_unchanged_and_depend_on_rng_alone(name: str, seed: int) -> None:
    operators, generator = OPERATORS[name], rng(seed)
    a, b = operators.random(generator), operators.random(generator)
    before = a.to_json(), b.to_json()
    state = generator.bit_generator.state
    first = operators.mutate(operators.mate(a, b, generator), generator, 0.5)
    assert (a.to_json(), b.to_json()) == before
    generator.bit_generator.state = state
    assert operators.mutate(operators.mate(a, b, generator), generator, 0.5) == first


@given(SEEDS)
def test_robust_crossover_of_a_genome_with_itself_is_that_genome(seed: int) -> None:
    genome = ROBUST.random(rng(seed))
    assert ROBUST.mate(genome, genome, rng(seed)) == genome


@given(SEEDS)
def test_every_gene_of_a_robust_child_comes_from_a_parent(seed: int) -> None:
    generator = rng(seed)
    a, b = ROBUST.random(generator), ROBUST.random(generator)
    child = ROBUST.mate(a, b, generator)
    assert len(child.terms) in (len(a.terms), len(b.terms))
    pairs = {*zip(a.terms, a.weights, strict=True), *zip(b.terms, b.weights, strict=True)}
    assert set(zip(child.terms, child.weights, strict=True)) <= pairs
    for name in (*CONSTANTS, *FLAGS):
        assert getattr(child, name) in (getattr(a, name), getattr(b, name))


def test_every_gene_is_reachable_by_robust_mutation() -> None:
    generator = rng(5)
    start = OptimizerGenome(("adam",), (1.0,))
    walk = [start]
    for _ in range(4000):
        walk.append(ROBUST.mutate(walk[-1], generator))
    assert {name for genome in walk for name in genome.terms} == {term.name for term in TERMS}
    assert {len(genome.terms) for genome in walk} == {1, 2, 3, 4}
    for name in FLAGS:
        assert {getattr(genome, name) for genome in walk} == {True, False}
    assert {weight > 0 for genome in walk for weight in genome.weights} == {True, False}
    for name in CONSTANTS:
        low, high = DEFAULT_RANGES[name]
        values = np.array([getattr(genome, name) for genome in walk])
        assert values.min() < low + 0.1 * (high - low)
        assert values.max() > high - 0.1 * (high - low)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ranges": {"lr_log10": (-1, -4)}}, "upside down"),
        ({"ranges": {"learning_rate": (-4, -1)}}, "unknown gene"),
        ({"ranges": {"beta1": (0.5, 1.0)}}, "must lie in"),
        ({"terms": ("adamm",)}, "Did you mean 'adam'"),
        ({"terms": ()}, "no term"),
        ({"max_terms": 0}, "max_terms"),
    ],
)
def test_a_bad_space_is_refused_in_one_clear_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(EvooptError, match=message):
        OptimizerSpace(**arguments)
