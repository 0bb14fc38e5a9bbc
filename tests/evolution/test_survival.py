"""Who survives: the order of NSGA-II, and what it needs to be resumed."""

from __future__ import annotations

from evoopt.evolution.individual import Fitness, RankedIndividual
from evoopt.evolution.survival import by_age, crowded, front_of


class Genome(str):
    @property
    def key(self) -> str:
        return str(self)

    def to_json(self) -> str:
        return str(self)


def one(number: int, score: float, *costs: float, unfinished: float = 0.0) -> RankedIndividual[Genome]:
    return RankedIndividual(
        number, Genome(number), fitness=Fitness((unfinished, score, 0.0)), costs=costs or (0.0, 0.0)
    )


def ids(population: list[RankedIndividual[Genome]]) -> list[int]:
    return [ind.id for ind in population]


POPULATION = [
    one(0, 3.0, 12, 40),  # best
    one(1, 2.0, 8, 20),
    one(2, 1.0, 8, 20),  # behind 1 in gain alone
    one(3, -1.0, 0, 3),  # smallest and fastest
    one(4, 1.9, 8, 21),  # behind 1 in everything
    one(5, 9.0, 0, 3, unfinished=0.5),  # would be ahead of all, had it finished
    one(6, 1.5, 4, 30),
]


def test_fronts_come_first_then_distances_and_last_who_did_not_finish() -> None:
    order = ids(crowded(POPULATION))
    assert set(order[:4]) == {0, 1, 3, 6}
    assert set(order[:2]) == {0, 3}, "the ends of the front are lonely"
    assert set(order[4:6]) == {2, 4}
    assert order[6] == 5
    assert [ind.crowded[0] for ind in POPULATION] == [0, 0, -1, 0, -1, -2, 0]


def test_the_front_is_what_nobody_beats_in_all_three() -> None:
    assert ids(front_of(POPULATION)) == [0, 1, 6, 3]
    assert front_of([]) == front_of([POPULATION[5]]) == []


def test_age_alone_counts_for_the_youngest() -> None:
    assert ids(by_age(POPULATION)) == [6, 5, 4, 3, 2, 1, 0]


def test_costs_are_kept_with_an_individual_and_places_are_not() -> None:
    data = POPULATION[1].to_json()
    assert data["costs"] == (8, 20)
    assert "crowded" not in data
    again = RankedIndividual.from_json(data, Genome)  # type: ignore[arg-type]
    assert again.costs == (8.0, 20.0)
    assert "costs" not in RankedIndividual(0, Genome("g")).to_json()
