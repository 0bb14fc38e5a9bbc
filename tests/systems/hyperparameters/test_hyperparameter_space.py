"""Hyperparameter genomes: spaces as people write them, and operators with the published frequencies."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoopt.errors import EvooptError
from evoopt.systems.hyperparameters.config import HpoConfig, PbtConfig
from evoopt.systems.hyperparameters.hyperparameter_operators import (
    crossover,
    initial_population,
    mutate,
    perturb,
    random_population,
)
from evoopt.systems.hyperparameters.hyperparameter_space import Hyperparameters, HyperparameterSpace
from evoopt.systems.hyperparameters.loci import NumberLocus
from tests.chance import frequent, uniform

TABLES: dict[str, Any] = {
    "lr": {"min": 1e-5, "max": 1.0, "default": 1e-3, "scale": "log"},
    "dropout": {"min": 0, "max": 0.9, "default": 0.5},
    "routings": {"type": "integer", "min": 1, "max": 5, "default": 3},
    "optimizer": {"choices": ["adam", "sgd", "lion"], "default": "adam"},
}
SPACE = HyperparameterSpace.parse(TABLES)
WIDE = HyperparameterSpace.parse({f"x{k}": {"min": 1e-9, "max": 1e9, "default": 1.0} for k in range(4)})


def within(count: int, of: int, probability: float) -> bool:
    """Whether a count may be one of a binomial distribution."""
    return frequent([True] * count + [False] * (of - count), probability)


def numbers(genome: Hyperparameters) -> np.ndarray:
    return np.array([value for _, value in genome.genotype], float)


def test_a_space_is_read_and_written_as_plain_tables() -> None:
    assert SPACE.default().values() == {"lr": 1e-3, "dropout": 0.5, "routings": 3, "optimizer": "adam"}
    again = HyperparameterSpace.parse(json.loads(json.dumps(SPACE.tables())))
    assert again == SPACE
    assert SPACE.genome({"lr": 7, "routings": 2}).values() == {
        **SPACE.default().values(),
        "lr": 1.0,
        "routings": 2,
    }


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({}, "the space: the space has no hyperparameters"),
        ({"lr": 0.1}, "'lr' must be a table with min, max and default"),
        ({"lr": {"min": 0, "max": 1}}, "'lr' needs default"),
        ({"lr": {"min": 0, "max": 1, "default": 2}}, "'lr': needs min <= default <= max, not 0, 2, 1"),
        ({"lr": {"min": 1, "max": 0, "default": 0.5}}, "needs min <= default <= max"),
        ({"lr": {"min": 0, "max": 1, "default": 0.1, "scale": "log"}}, "logarithmic scale needs min above 0"),
        ({"lr": {"min": 0, "max": 1, "default": 0.1, "scale": "lin"}}, "'lr' 'lin'.*'linear'"),
        ({"lr": {"min": 0, "max": 1, "default": 0}}, "could never leave its default 0"),
        ({"lr": {"min": 0, "max": "1", "default": 1}}, "max must be a finite number, not '1'"),
        ({"lr": {"min": 0, "max": float("inf"), "default": 1}}, "max must be a finite number, not inf"),
        ({"lr": {"min": 0, "max": 1, "defalt": 1}}, "setting of hyperparameter 'lr' 'defalt'.*'default'"),
        ({"n": {"type": "int", "min": 0, "max": 1, "default": 1}}, "type of hyperparameter 'n' 'int'"),
        ({"n": {"type": "integer", "min": 1, "max": 2.5, "default": 1}}, "max of an integer must be a whole"),
        ({"o": {"choices": [], "default": "a"}}, "choices must be a list"),
        ({"o": {"choices": "adam", "default": "a"}}, "choices must be a list"),
        ({"o": {"choices": [np.ones(2)], "default": 1}}, "choices must be a list"),
        ({"lr": {"min": None, "max": 1, "default": 1}}, "min must be a finite number, not None"),
        ({"o": {"choices": ["a", "a"], "default": "a"}}, "choices must differ"),
        ({"o": {"choices": ["a", "b"], "default": "c"}}, "default 'c' is none of its choices 'a', 'b'"),
    ],
)  # fmt: skip
def test_a_bad_space_is_refused_in_one_line(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(EvooptError, match=message) as caught:
        HyperparameterSpace.parse(tables)
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_and_none_are_values_as_any() -> None:
    given = {
        "lr": {"min": np.float32(0.5), "max": np.int64(2), "default": np.float64(1)},
        "n": {"type": "integer", "min": np.int8(1), "max": np.int8(9), "default": np.int8(4)},
        "width": {"choices": np.array([16, 32]), "default": np.int64(32)},
        "depth": {"choices": range(1, 4), "default": 2},
        "norm": {"choices": ["batch", None, np.bool_(True)], "default": None},
    }
    space = HyperparameterSpace.parse(given)
    values = space.default().values()
    assert values == {"lr": 1.0, "n": 4, "width": 32, "depth": 2, "norm": None}
    genomes = [space.default(), *random_population(space, 20, np.random.default_rng(0))]
    kinds = {type(value) for genome in genomes for value in genome.values().values()}
    assert kinds == {float, int, str, bool, type(None)}
    for genome in genomes:
        assert Hyperparameters.from_json(json.loads(json.dumps(genome.to_json()))) == genome


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"lr": {"min": -1, "max": 1, "default": 0.1}}, "'lr' may become -1.0: lr must be positive"),
        ({"beta1": {"min": 0.1, "max": 1.5, "default": 0.9}}, "'beta1' may become 1.5: beta1 must lie"),
        ({"momentum": {"min": 0.1, "max": 1, "default": 0.9}}, "'momentum' may become 1.0: beta1 must lie"),
        ({"eps": {"min": -1, "max": 1, "default": 1e-8}}, "'eps' may become -1.0: eps must be positive"),
        ({"weight_decay": {"min": -1, "max": 1, "default": 1e-2}}, "weight_decay must be >= 0, not -1.0"),
        ({"dropout": {"min": 0.1, "max": 1.5, "default": 0.5}}, "'dropout' may become 1.5: dropout must"),
        ({"dropout.1": {"min": -0.1, "max": 0.5, "default": 0.5}}, "'dropout.1' may become -0.1: dropout"),
        ({"lr": {"choices": [0.1, -0.1], "default": 0.1}}, "'lr' may become -0.1: lr must be positive"),
        ({"lr": {"choices": [0.1, "a"], "default": 0.1}}, "'lr' must be a number, not 'a'"),
        ({"lr": {"choices": [0.1, None], "default": 0.1}}, "'lr' may become None: None is nothing that"),
        ({"optimizer": {"choices": ["adam", "adan"], "default": "adam"}}, "unknown preset 'adan'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [PbtConfig, HpoConfig])
def test_values_that_training_cannot_use_are_refused_when_the_space_is_made(
    kind: type[PbtConfig | HpoConfig], space: dict[str, Any], message: str
) -> None:
    with pytest.raises(EvooptError, match=message) as caught:
        kind.validated({"space": space, "training": {"steps": 1}}, "mine.toml")
    assert str(caught.value).startswith("mine.toml, space: hyperparameter ")
    assert "\n" not in str(caught.value)


def test_a_bound_of_0_that_multiplication_never_reaches_is_sound() -> None:
    space = {"lr": {"min": 0, "max": 1, "default": 0.1}, "dropout": {"min": 0, "max": 1, "default": 0.1}}
    PbtConfig.validated({"space": space}, "mine.toml")


def test_genomes_survive_json_and_share_a_key_with_their_phenotype() -> None:
    genome = SPACE.draw(np.random.default_rng(0))
    again = Hyperparameters.from_json(json.loads(json.dumps(genome.to_json())))
    assert again == genome
    assert again.key == genome.key
    low, high, other = (SPACE.genome({"routings": x}) for x in (2.6, 3.4, 3.6))
    assert low != high
    assert low.values() == high.values() == SPACE.default().values()
    assert low.key == high.key != other.key


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "expected a JSON object of kind 'hyperparameters'"),
        ({"kind": "rule"}, "expected kind 'hyperparameters', found 'rule'"),
        ({"kind": "hyperparameters", "version": 2}, "version 2 is not supported"),
        ({"kind": "hyperparameters", "version": 1}, "need a genotype"),
        ({"kind": "hyperparameters", "version": 1, "genotype": {"a": 1.0}, "integers": ["b"]}, "need a geno"),
        ({"kind": "hyperparameters", "version": 1, "genotype": {"a": []}, "integers": []}, "need a genotype"),
    ],
)
def test_what_is_no_genome_is_refused(data: Any, message: str) -> None:
    with pytest.raises(EvooptError, match=message):
        Hyperparameters.from_json(data)


def test_integers_take_small_steps_and_round_at_use() -> None:
    rng, genome = np.random.default_rng(1), SPACE.default()
    seen = set()
    for _ in range(300):
        genome = mutate(genome, rng, SPACE, rate=1.0)
        value = genome.values()["routings"]
        assert isinstance(value, int)
        assert 1 <= value <= 5
        seen.add(value)
    assert len(seen) > 2
    assert dict(genome.genotype)["routings"] != genome.values()["routings"]


def test_random_draws_are_uniform_on_their_scale() -> None:
    rng, n = np.random.default_rng(2), 4000
    drawn = [SPACE.draw(rng).values() for _ in range(n)]
    assert within(sum(values["lr"] < 10**-2.5 for values in drawn), n, 0.5)  # type: ignore[operator]
    assert within(sum(values["dropout"] < 0.45 for values in drawn), n, 0.5)  # type: ignore[operator]
    for k in range(1, 6):
        assert within(sum(values["routings"] == k for values in drawn), n, 0.2)
    for name in ("adam", "sgd", "lion"):
        assert within(sum(values["optimizer"] == name for values in drawn), n, 1 / 3)


def test_crossover_swaps_each_locus_at_its_rate_and_keeps_everything() -> None:
    rng, n = np.random.default_rng(3), 4000
    a, b = (WIDE.genome(dict.fromkeys(WIDE.names, value)) for value in (1.0, 2.0))
    swaps = np.zeros(4)
    for _ in range(n):
        first, second, swapped = crossover(a, b, rng)
        swaps += swapped
        assert (numbers(first) + numbers(second) == 3).all()
        assert tuple(numbers(first) == 2) == swapped
    assert all(within(int(count), n, 0.33) for count in swaps)


def test_one_recombinant_is_an_even_mixture_with_the_published_linkage() -> None:
    # Two loci come from the same parent with probability .67**2 + .33**2 = .558.
    rng, n = np.random.default_rng(4), 4000
    a, b = (WIDE.genome(dict.fromkeys(WIDE.names, value)) for value in (1.0, 2.0))
    children = np.array([numbers(crossover(a, b, rng)[int(rng.integers(2))]) for _ in range(n)])
    assert all(within(int((children[:, k] == 1).sum()), n, 0.5) for k in range(4))
    for k in range(1, 4):
        assert within(int((children[:, 0] == children[:, k]).sum()), n, 0.67**2 + 0.33**2)


def test_run_length_crossover_links_neighbours() -> None:
    rng, n = np.random.default_rng(5), 4000
    a, b = (WIDE.genome(dict.fromkeys(WIDE.names, value)) for value in (1.0, 2.0))
    children = np.array([numbers(crossover(a, b, rng, run_length=True).first) for _ in range(n)])
    changes = (children[:, 1:] != children[:, :-1]).sum(axis=0)
    assert all(within(int(count), n, 0.33) for count in changes)
    assert within(int((children[:, 0] == 2).sum()), n, 0.33)


def test_mutation_has_its_rate_and_four_equally_likely_ways() -> None:
    rng, n = np.random.default_rng(6), 6000
    factors = np.array([numbers(mutate(WIDE.default(), rng, WIDE)) for _ in range(n)])
    moved = factors[factors != 1]
    assert within(len(moved), 4 * n, 0.05)
    ways = [(0.99, 1.0), (1.0, 1.01), (1.1, 1.2), (0.8, 0.9)]
    counts = [int(((moved >= low) & (moved <= high)).sum()) for low, high in ways]
    assert sum(counts) == len(moved)
    assert all(within(count, len(moved), 0.25) for count in counts)
    for (low, high), way in zip(ways, counts, strict=True):
        assert uniform(moved[(moved >= low) & (moved <= high)].tolist(), low, high), way


def test_an_integer_that_is_0_can_be_multiplied_to_1() -> None:
    locus, rng = NumberLocus("layers", 0, 3, 1, integer=True), np.random.default_rng(0)
    drawn = [locus.draw(rng) for _ in range(1000)]
    assert within(sum(round(value) == 0 for value in drawn), 1000, 0.25)
    assert min(drawn) > 0


def test_a_category_is_redrawn() -> None:
    rng, n = np.random.default_rng(7), 3000
    found = [mutate(SPACE.default(), rng, SPACE, rate=1.0).values()["optimizer"] for _ in range(n)]
    for name in ("adam", "sgd", "lion"):
        assert within(found.count(name), n, 1 / 3)


def test_exploration_multiplies_or_redraws() -> None:
    rng, n = np.random.default_rng(8), 3000
    moved = np.array([numbers(perturb(WIDE.default(), rng, WIDE))[0] for _ in range(n)])
    for factor in (0.8, 1.2):
        assert within(int((moved == factor).sum()), n, 0.375)
    for default, neighbours in (("a", "ab"), ("b", "ac"), ("c", "bd"), ("d", "cd")):
        space = HyperparameterSpace.parse({"x": {"choices": [*"abcd"], "default": default}})
        moves = [perturb(space.default(), rng, space, resample=0.0).values()["x"] for _ in range(50)]
        assert set(moves) == set(neighbours)


def test_the_first_generation_is_the_defaults_and_mutants_of_all_loci() -> None:
    first, *mutants = initial_population(WIDE, 200, np.random.default_rng(9))
    assert first == WIDE.default()
    assert len(mutants) == 199
    assert all((numbers(mutant) != 1).all() for mutant in mutants)
    assert 1.2**2 < max(numbers(mutant).max() for mutant in mutants) < 1.2**3, "three mutations each"
    default, *drawn = random_population(SPACE, 5, np.random.default_rng(9))
    assert default == SPACE.default()
    assert len({genome.key for genome in drawn}) == 4


@given(seed=st.integers(0, 2**32), steps=st.integers(1, 30))
def test_operators_stay_within_bounds_and_invent_nothing(seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = SPACE.draw(rng), SPACE.draw(rng)
    for child in crossover(a, b, rng, run_length=seed % 2 == 0)[:2]:
        assert all(child.genotype[k] in (a.genotype[k], b.genotype[k]) for k in range(4))
        for _ in range(steps):
            child = mutate(perturb(child, rng, SPACE), rng, SPACE, rate=0.5)
        values = child.values()
        for name, table in TABLES.items():
            if "choices" in table:
                assert values[name] in table["choices"]
            else:
                assert table["min"] <= values[name] <= table["max"]
    assert crossover(a, a, rng).first == a
    assert mutate(a, rng, SPACE, rate=0.0) == a
