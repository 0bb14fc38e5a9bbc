"""Recombination schemes: fitness, parents, demes, lineage, and state that goes on exactly."""

from __future__ import annotations

import json
import math
import tomllib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from evoopt.config import parse_config
from evoopt.errors import EvooptError, NoScoreError
from evoopt.evolution.demes import Demes
from evoopt.evolution.selection import choose_proportional
from evoopt.systems.hyperparameters.breeding import (
    SCHEMES,
    Parent,
    RandomSearch,
    ThreeParent,
    Truncation,
    recombination_toolbox,
)
from evoopt.systems.hyperparameters.config import (
    HpoConfig,
    HpoSection,
    PbtConfig,
    PbtSection,
    RecombinationSection,
)
from evoopt.systems.hyperparameters.generations import HyperparameterGenerations
from evoopt.systems.hyperparameters.hyperparameter_operators import gaussian_fitness
from evoopt.systems.hyperparameters.hyperparameter_space import HyperparameterSpace
from tests.chance import frequent

SPACE = HyperparameterSpace.parse(
    {name: {"min": 1e-6, "max": 1e6, "default": 1.0} for name in ("lr", "decay", "q")}
)
STILL = recombination_toolbox(SPACE, PbtSection(mutation_rate=0.0, winsorise=0.0))
LOGGED = [
    (0.051227, 1.0), (0.693713, 0.000045), (0.692677, 0.000047), (0.330986, 0.150166),
    (0.689294, 0.000052), (0.488709, 0.009691), (0.315066, 0.185194), (0.574136, 0.001328),
]  # fmt: skip


def pool(foms: Sequence[float]) -> list[Parent]:
    """Parents whose hyperparameters all equal their position + 1."""
    return [
        Parent(k, SPACE.genome({name: float(k + 1) for name in SPACE.names}), fom, litter=k)
        for k, fom in enumerate(foms)
    ]


def fom_of(generations: HyperparameterGenerations) -> list[float]:
    """A bowl whose minimum lies away from the defaults."""
    return [
        sum((math.log(float(v)) - 0.7) ** 2 for v in ind.genome.values().values())
        for ind in generations.population
    ]


def test_fitness_is_what_the_released_library_logged() -> None:
    foms, printed = zip(*LOGGED, strict=True)
    assert gaussian_fitness(foms) == pytest.approx(printed, abs=2e-6)


def test_fitness_of_equals_and_of_failures() -> None:
    assert gaussian_fitness([2.0, 2.0, 2.0]).tolist() == [1, 1, 1]
    assert gaussian_fitness([1.0, math.nan, 3.0, math.inf]) == pytest.approx([1, 0, math.exp(-10), 0])
    assert gaussian_fitness([math.nan, math.nan]).tolist() == [0, 0]
    assert gaussian_fitness([5.0]).tolist() == [1]


def test_one_diverged_member_flattens_the_rest_only_if_taken_literally() -> None:
    foms = [0.05, 0.10, 0.30, 0.50, 7.04]
    literal, robust = gaussian_fitness(foms), gaussian_fitness(foms, winsorise=0.2)
    assert literal[3] > 0.95
    assert robust[:4] == pytest.approx(gaussian_fitness(foms[:4]))
    assert robust[4] == robust[3]


def test_a_share_of_the_worst_at_least_one_of_three_counts_as_the_worst_of_the_rest() -> None:
    worst = math.exp(-10)
    ten = gaussian_fitness([*map(float, range(8)), 50.0, 60.0], winsorise=0.2)
    assert ten == pytest.approx([*gaussian_fitness([*map(float, range(8))]), worst, worst])
    assert gaussian_fitness([1.0, 2.0, 9.0], winsorise=0.1) == pytest.approx([1, worst, worst])
    assert gaussian_fitness([1.0, 9.0], winsorise=0.2) == pytest.approx([1, worst])
    assert gaussian_fitness([1.0, 1.0, 1.0, 9.0], winsorise=0.25) == pytest.approx([1, 1, 1, worst])


def test_parents_are_drawn_in_proportion_to_fitness() -> None:
    rng, n = np.random.default_rng(0), 8000
    counts = Counter(choose_proportional(np.array([0.0, 1.0, 3.0, 0.0]), rng) for _ in range(n))
    assert set(counts) == {1, 2}
    assert abs(counts[2] - 0.75 * n) < 5 * math.sqrt(n * 0.75 * 0.25)
    assert {choose_proportional(np.zeros(3), rng) for _ in range(100)} == {0, 1, 2}


def test_hyperparameters_come_only_from_a_and_b() -> None:
    births = ThreeParent(STILL).breed(pool([1.0] * 6), 1500, np.random.default_rng(1))
    both = 0
    for birth in births:
        a, b, _ = birth.parents
        values = list(birth.genome.values().values())
        assert set(values) <= {a + 1.0, b + 1.0}
        both += len(set(values)) == 2
        taken = birth.operations.removeprefix("b:").split(",") if birth.operations != "copy" else []
        assert a == b or taken == [n for n, v in birth.genome.values().items() if v == b + 1]
    assert both > 100
    apart = [birth for birth in births if birth.parents[0] != birth.parents[1]]
    from_b = [v == birth.parents[1] + 1 for birth in apart for v in birth.genome.values().values()]
    assert frequent(from_b, 0.5), "one of the two recombinants, at random"
    assert Demes().interval == 5


def test_the_three_parents_are_drawn_independently() -> None:
    births = ThreeParent(STILL).breed(pool([1.0] * 3), 5400, np.random.default_rng(2))
    counts = Counter(birth.parents for birth in births)
    assert len(counts) == 27
    assert all(abs(count - 200) < 5 * math.sqrt(200) for count in counts.values())


def test_a_single_fit_parent_without_mutation_is_copied() -> None:
    births = ThreeParent(STILL).breed(pool([math.nan, 0.5, math.nan]), 20, np.random.default_rng(3))
    assert all(birth.parents == (1, 1, 1) for birth in births)
    assert all(birth.genome == pool([0, 0])[1].genome for birth in births)


@pytest.mark.parametrize("scheme", ["three_parent", "truncation"])
def test_nobody_takes_weights_of_a_member_that_has_none(scheme: Any) -> None:
    breeder = SCHEMES[scheme](PbtSection(scheme=scheme), SPACE)
    foms = [math.nan, 0.1, 0.9, math.nan, 0.5, math.inf, 0.4, math.nan]
    for seed in range(50):
        births = breeder.breed(pool(foms), len(foms), np.random.default_rng(seed))
        assert {parent for birth in births for parent in birth.parents} <= {1, 2, 4, 6}


def test_both_recombinants_live_and_the_fitter_one_breeds() -> None:
    breeder = ThreeParent(STILL, both=True)
    births = breeder.breed(pool([1.0] * 4), 40, np.random.default_rng(4))
    for first, second in zip(births[::2], births[1::2], strict=True):
        assert (first.sibling, second.sibling) == (False, True)
        assert first.parents == second.parents
        a, b, _ = first.parents
        for name in SPACE.names:
            assert {first.genome.values()[name], second.genome.values()[name]} == {a + 1.0, b + 1.0}
    litters = [
        Parent(k, SPACE.default(), fom, litter=k // 2) for k, fom in enumerate([3.0, 1.0, 2.0, math.nan])
    ]
    births = breeder.breed(litters, 100, np.random.default_rng(5))
    assert {parent for birth in births for parent in birth.parents} <= {1, 2}


def test_truncation_replaces_the_worst_quarter_by_the_best() -> None:
    breeder = Truncation(SPACE, resample=0.0)
    births = breeder.breed(pool([5, 1, 6, 2, 7, 8, 3, 4]), 8, np.random.default_rng(6))
    for k, birth in enumerate(births):
        if k in (4, 5):
            donor = birth.parents[0]
            assert birth.operations == "exploit+explore"
            assert donor in (1, 3)
            ratios = {value / (donor + 1) for value in birth.genome.values().values()}  # type: ignore[operator]
            assert ratios <= {0.8, 1.2}
        else:
            assert birth.parents == (k, k, k)
            assert birth.genome == pool([0] * 8)[k].genome


@pytest.mark.parametrize(
    ("size", "quantile", "count"), [(5, 0.25, 2), (8, 0.375, 3), (3, 0.5, 1), (9, 0.5, 4)]
)
def test_truncation_replaces_as_many_as_ray_tune_does(size: int, quantile: float, count: int) -> None:
    donors, ranks = set[int](), range(size)
    for seed in range(60):
        births = Truncation(SPACE, quantile).breed(pool([*ranks]), size, np.random.default_rng(seed))
        replaced = [k for k in ranks if births[k].operations == "exploit+explore"]
        assert replaced == [*ranks][size - count :]
        donors |= {births[k].parents[0] for k in replaced}
    assert donors == set(range(count))


def test_random_search_goes_on_or_draws_anew() -> None:
    members, rng = pool([1.0] * 4), np.random.default_rng(7)
    kept = RandomSearch(SPACE, inherit=True).breed(members, 4, rng)
    assert [birth.genome for birth in kept] == [parent.genome for parent in members]
    drawn = RandomSearch(SPACE, inherit=False).breed(members, 4, rng)
    assert [birth.parents for birth in drawn] == [()] * 4
    assert len({birth.genome.key for birth in drawn}) == 4


def test_the_best_of_a_deme_migrates_to_its_neighbours() -> None:
    ring = Demes(3, "ring", interval=5)
    pools = ring.pools(pool([1, 9, 2, 8, 3, 7]))
    ring.migrate(pools, 4)
    assert [[p.position for p in one] for one in pools] == [[0, 1], [2, 3], [4, 5]], "not the time"
    ring.migrate(pools, 5)
    assert [[p.position for p in one] for one in pools] == [[0, 4], [2, 0], [4, 2]]


def test_on_a_grid_migrants_go_east_and_south_by_turns() -> None:
    grid = Demes(6, "grid", interval=2)  # two rows of three

    def sources(generation: int) -> list[int]:
        pools = grid.pools(pool([k % 2 for k in range(12)]))
        grid.migrate(pools, generation)
        return [one[1].position // 2 for one in pools]

    assert sources(0) == [2, 0, 1, 5, 3, 4]
    assert sources(2) == [3, 4, 5, 0, 1, 2]
    assert sources(1) == [0, 1, 2, 3, 4, 5]


def test_demes_breed_among_themselves_between_migrations() -> None:
    demes = Demes(4, interval=3)
    generations = HyperparameterGenerations(ThreeParent(STILL), 20, seed=1, demes=demes)
    for number in range(5):
        homes = {ind.id: k // 5 for k, ind in enumerate(generations.population)}
        generations.score(fom_of(generations))
        generations.breed()
        strangers = [
            (homes[parent], k // 5)
            for k, ind in enumerate(generations.population)
            for parent in ind.parents
            if homes[parent] != k // 5
        ]
        if number % 3:
            assert not strangers
        else:
            assert strangers
            assert all(there == (here + 1) % 4 for here, there in strangers)


def test_a_deme_that_died_out_is_settled_by_the_fittest_of_all() -> None:
    generations = HyperparameterGenerations(ThreeParent(STILL), 6, seed=1, demes=Demes(2, interval=100))
    generations.score([1.0] * 6)
    generations.breed()  # generation 1, without migration
    fittest = generations.population[2].id
    generations.score([0.3, 0.2, 0.1, math.nan, math.nan, math.nan])
    generations.breed()
    assert all(set(ind.parents) == {fittest} for ind in generations.population[3:])


def test_nobody_migrates_in_a_random_search() -> None:
    section = PbtSection(scheme="random", population=8, demes=2, migration_interval=1)
    generations = HyperparameterGenerations.of(section, SPACE)
    first = [ind.genome for ind in generations.population]
    for _ in range(15):
        generations.score(fom_of(generations))
        assert generations.breed() == list(range(8))
    assert [ind.genome for ind in generations.population] == first


@pytest.mark.parametrize("scheme", ["three_parent", "truncation", "random"])
@pytest.mark.parametrize("kind", [PbtSection, HpoSection])
def test_state_goes_on_exactly(scheme: Any, kind: type[RecombinationSection]) -> None:
    section = kind(scheme=scheme, population=8, demes=2, recombinants="both", migration_interval=2)

    def play(rounds: int, generations: HyperparameterGenerations) -> list[Any]:
        found = []
        for _ in range(rounds):
            generations.score(fom_of(generations))
            found.append((generations.record(), generations.breed()))
        return found

    whole, cut = HyperparameterGenerations.of(section, SPACE), HyperparameterGenerations.of(section, SPACE)
    expected = play(6, whole)
    state = json.loads(json.dumps((play(3, cut), cut.to_json())))[1]
    again = HyperparameterGenerations.of(section, SPACE)
    again.restore(state)
    assert play(3, again) == expected[3:]
    assert json.dumps(again.to_json()) == json.dumps(whole.to_json())
    assert again.best == whole.best
    other = HyperparameterGenerations.of(section.model_copy(update={"seed": 7}), SPACE)
    assert play(6, other) != expected


def test_lineage_follows_alpha_and_the_best_ever_is_kept() -> None:
    generations = HyperparameterGenerations(SCHEMES["three_parent"](PbtSection(), SPACE), 10, seed=3)
    parents: dict[int, tuple[int, ...]] = {ind.id: () for ind in generations.population}
    genomes = {ind.id: ind.genome for ind in generations.population}
    lowest = math.inf
    for _ in range(12):
        foms = fom_of(generations)
        assert generations.score(foms) == (min(foms) < lowest)
        lowest = min(lowest, *foms)
        assert generations.best is not None
        assert generations.best.fom == lowest
        generations.breed()
        parents.update({ind.id: ind.parents for ind in generations.population})
        genomes.update({ind.id: ind.genome for ind in generations.population})
    for number in (generations.population[0].id, generations.best.id):
        path, expected = generations.lineage(number), [number]
        while parents[expected[0]]:
            expected.insert(0, parents[expected[0]][2])
        assert [one for one, _ in path] == expected
        assert all(genome == genomes[one] for one, genome in path)
    assert len(generations.to_json()["ancestry"]) < len(parents) / 2, "the dead without heirs are forgotten"


def test_selection_finds_what_random_search_does_not() -> None:
    def best(scheme: Any) -> float:
        section = HpoSection(scheme=scheme, population=20)
        generations = HyperparameterGenerations.of(section, SPACE)
        for _ in range(30):
            generations.score(fom_of(generations))
            generations.breed()
        assert generations.best is not None
        return generations.best.fom

    assert best("three_parent") < 0.2 < best("random")


def test_the_first_generation_is_as_the_settings_say() -> None:
    spread = {}
    for initial, size in (("mutants", 3), ("random", 3), ("mutants", 0)):
        section = PbtSection(initial=initial, initial_mutations=size)  # type: ignore[arg-type]
        default, *rest = (ind.genome for ind in HyperparameterGenerations.of(section, SPACE).population)
        assert default == SPACE.default()
        spread[initial, size] = max(abs(math.log(float(v))) for g in rest for v in g.values().values())
    assert spread["mutants", 0] == 0 < spread["mutants", 3] < 3 * math.log(1.25) < spread["random", 3]


def test_when_all_fail_later_on_weights_end_the_run_and_fresh_networks_do_not() -> None:
    inheriting = HyperparameterGenerations(ThreeParent(STILL), 4, seed=1)
    with pytest.raises(EvooptError, match="all 4 members have diverged in generation 0: narrow the space"):
        inheriting.score([math.nan] * 4)
    inheriting.score([1.0, 2.0, 3.0, 4.0])
    inheriting.breed()
    with pytest.raises(NoScoreError, match="generation 1"):
        inheriting.score([math.nan] * 4)
    for scheme in ("three_parent", "truncation", "random"):
        section = HpoSection(scheme=scheme, population=4)  # type: ignore[arg-type]
        fresh = HyperparameterGenerations.of(section, SPACE)
        with pytest.raises(NoScoreError, match="generation 0"):
            fresh.score([math.inf] * 4)
        fresh.score([math.inf, 1.0, math.inf, math.inf])
        fresh.breed()
        fresh.score([math.inf] * 4)
        assert fresh.record()["best"] is None
        fresh.breed()
        assert fresh.best is not None
        assert len(fresh.population) == 4


LR = {"lr": {"min": 1e-4, "max": 1e-1, "default": 1e-3}}


@pytest.mark.parametrize(
    ("section", "training", "message"),
    [
        ({"population": 10, "demes": 3}, {}, r"population \(10\) must be a multiple of demes \(3\)"),
        ({"population": 4, "demes": 4}, {}, "2 or more members in each"),
        ({"population": 6, "demes": 2, "migrants": 3}, {}, r"migrants \(3\) must be fewer than a deme \(3\)"),
        ({"fom": "steps"}, {}, "recombination.fom: Input should be 'error', 'loss' or 'perplexity'"),
        ({"sheme": "random"}, {}, "Did you mean 'recombination.scheme'"),
        ({}, {"validation_fraction": 0}, "validation_fraction must be above 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(section: Any, training: Any, message: str) -> None:
    with pytest.raises(EvooptError, match=message):
        PbtConfig.validated({"recombination": section, "training": training, "space": LR}, "my.toml")


@pytest.mark.parametrize(
    ("section", "training", "message"),
    [
        ({"fom": "steps"}, {"steps": 5}, "fom 'steps' needs a target"),
        ({}, {}, "type 'hpo' needs training.steps"),
    ],
)
def test_settings_of_fresh_trainings_that_do_not_fit_are_refused(
    section: Any, training: Any, message: str
) -> None:
    with pytest.raises(EvooptError, match=message):
        HpoConfig.validated({"recombination": section, "training": training, "space": LR}, "my.toml")


def test_space_files_from_when_both_types_were_one_are_read() -> None:
    table = "[space.lr]\nmin = 1e-4\nmax = 0.1\ndefault = 1e-3\n"
    old = f'individual = "recombination"\n[recombination]\nfom = "loss"\n{table}'
    assert parse_config(old, "old.toml") == parse_config(old.replace('"recombination"', '"pbt"'), "new.toml")
    old = f'individual = "recombination"\n[recombination]\nmode = "hpo"\n[training]\nsteps = 5\n{table}'
    new = old.replace('"recombination"', '"hpo"').replace('mode = "hpo"\n', "")
    assert parse_config(old, "old.toml") == parse_config(new, "new.toml")
    with pytest.raises(EvooptError, match=r"bad\.toml: recombination"):
        parse_config('individual = "recombination"\nrecombination = 3\n', "bad.toml")


def test_a_configuration_survives_its_file() -> None:
    space = {
        "lr": {"min": 1e-4, "max": 1e-1, "default": 1e-3, "scale": "log"},
        "o": {"choices": ["a"], "default": "a"},
    }
    config = PbtConfig.validated({"space": space}, "my.toml")
    assert PbtConfig.validated(tomllib.loads(config.to_toml()), "again") == config
    assert config.loci().names == ("lr", "o")
    with pytest.raises(EvooptError, match=r"my.toml, space: hyperparameter 'lr' needs max"):
        PbtConfig.validated({"space": {"lr": {"min": 1, "default": 2}}}, "my.toml")
