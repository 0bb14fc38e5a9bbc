"""The plans of the schemes: how many children, of whom, who survives."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from evoopt.errors import EvooptError
from evoopt.evolution.selection import tournament
from evoopt.systems.genetic.config import GeneticSection
from evoopt.systems.genetic.succession import (
    SCHEMES,
    Child,
    Elitist,
    Generational,
    SteadyState,
    make_scheme,
)
from tests.chance import frequent

FITNESS = np.linspace(0.9, 0.1, 100)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("size", [2, 3, 7, 100])
def test_every_scheme_keeps_the_population_size_and_follows_from_its_stream(name: str, size: int) -> None:
    scheme, fitness = make_scheme(name), FITNESS[:size]
    children = scheme.breed(fitness, rng())
    assert children == scheme.breed(fitness, rng())
    alive = scheme.survivors(fitness, np.linspace(0, 1, len(children)))
    assert len(alive) == size
    assert len(set(alive)) == size
    assert all(0 <= parent < size for child in children for parent in child.parents)
    assert {index for index in alive if index >= size} == set(range(size, size + len(children)))


def test_steady_state_mates_seven_times_out_of_ten_and_mutates_otherwise() -> None:
    children = [SteadyState(select=tournament).breed(FITNESS, rng(seed))[0] for seed in range(4000)]
    mutated = sum(child.mutated for child in children)
    assert frequent([child.mutated for child in children], 0.3)
    assert all(child.parents[0] == child.parents[1] for child in children if child.mutated)
    operations = Counter(child.operation for child in children)
    assert operations["mutate"] == mutated
    assert operations["mate"] > 2600
    assert operations["mate"] + operations["clone"] == 4000 - mutated


def test_steady_state_replaces_the_least_fit_whatever_the_child_is_unless_told_otherwise() -> None:
    fitness, worse, better = np.array([0.3, 0.1, 0.2]), np.array([0.05]), np.array([0.15])
    assert SteadyState().survivors(fitness, worse) == [0, 3, 2]
    assert SteadyState(replace_if_better=True).survivors(fitness, worse) == [0, 1, 2]
    assert SteadyState(replace_if_better=True).survivors(fitness, better) == [0, 3, 2]
    assert SteadyState(replace_if_better=True).survivors(fitness, np.array([np.nan])) == [0, 1, 2]
    assert SteadyState(replace_if_better=True).survivors(np.array([0.3, np.nan]), worse) == [0, 2]
    assert SteadyState().broods(100) == 100


def test_generational_pairs_have_two_complementary_children_and_nobody_survives() -> None:
    children = Generational().breed(FITNESS, rng())
    assert len(children) == 100
    for first, second in zip(children[::2], children[1::2]):
        assert (first.parents, first.seed) == (second.parents, second.seed)
        assert (first.complement, second.complement) == (False, True)
    assert len({child.seed for child in children}) == 50
    assert Generational().survivors(FITNESS, np.zeros(100)) == list(range(100, 200))
    assert frequent([c.mutated for seed in range(60) for c in Generational().breed(FITNESS, rng(seed))], 0.2)


def test_elitists_keep_the_ten_best_and_breed_ninety_from_a_pool_of_twenty() -> None:
    fitness = np.roll(FITNESS, 50)
    children = Elitist(select=lambda fitness, k, rng: list(range(k))).breed(fitness, rng())
    assert len(children) == 90
    assert {parent for child in children for parent in child.parents} == set(range(20))
    assert all(a != b for a, b in (child.parents for child in children))
    assert frequent([c.mutated for seed in range(60) for c in Elitist().breed(fitness, rng(seed))], 0.2)
    alive = Elitist().survivors(fitness, np.ones(90))
    assert alive == [*range(50, 60), *range(100, 190)]


@pytest.mark.parametrize("size", [2, 10])
def test_elitists_have_a_child_of_two_at_least_and_keep_one_at_least(size: int) -> None:
    scheme = Elitist(select=lambda fitness, k, rng: list(range(k)), elites=1.0, pool=0.0)
    assert [sorted(child.parents) for child in scheme.breed(FITNESS[:size], rng())] == [[0, 1]]
    assert len(Elitist(elites=0.0).breed(FITNESS[:size], rng())) == size - 1


def test_elitists_draw_two_places_of_the_pool_for_every_child() -> None:
    always_two = Elitist(select=lambda fitness, k, rng: [4, 7], pool=0.02)
    assert all(sorted(child.parents) == [4, 7] for child in always_two.breed(FITNESS, rng()))


@pytest.mark.parametrize(
    ("scheme", "shares"),
    [("steady_state", {"p_mate": 0.6}), ("elitist", {"elites": 0.3, "pool": 0.4, "p_mutate": 0.5})],
)
def test_a_space_file_sets_the_shares_of_its_scheme(scheme: str, shares: dict[str, float]) -> None:
    made = GeneticSection(scheme=scheme, **shares).make_scheme()
    assert {name: getattr(made, name) for name in shares} == shares


def test_operations_are_named() -> None:
    assert Child((1, 2), 0).operation == "mate"
    assert Child((1, 2), 0, mutated=True).operation == "mate+mutate"
    assert Child((1, 1), 0, mutated=True).operation == "mutate"
    assert Child((1, 1), 0).operation == "clone"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "elitism"}, "unknown scheme 'elitism'. Did you mean 'elitist'"),
        ({"name": "elitist", "p_mate": 0.5}, "scheme 'elitist' has no setting 'p_mate'"),
        ({"name": "elitist", "elites": 1.5}, "elites must lie between 0 and 1, not 1.5"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(EvooptError, match=message):
        make_scheme(**settings)  # type: ignore[arg-type]
