"""GADAM's operators: equations 7 to 12, and what follows from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evoopt.errors import EvooptError
from evoopt.systems.gadam.unit_model import (
    MutationKind,
    UnitModel,
    inheritance,
    mate,
    mutate,
    normalised,
    pair_mutation_rate,
    select_pairs,
    selection_probabilities,
)
from tests.chance import frequent, uniform

losses_of_a_population = st.lists(st.floats(0, 100), min_size=2, max_size=20)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(losses_of_a_population)
def test_selection_is_weak_and_inheritance_is_bounded(losses: list[float]) -> None:
    p = selection_probabilities(losses)
    assert p.sum() == pytest.approx(1)
    assert p.max() / p.min() <= math.e * (1 + 1e-12)
    assert p.min() in p[np.array(losses) == max(losses)], "nobody is less likely than the worst"
    for i in range(len(losses)):
        for j in range(len(losses)):
            assert 0.2689 <= inheritance(losses, i, j) <= 0.7311
            assert inheritance(losses, i, j) == pytest.approx(p[i] / (p[i] + p[j])), "eq. 10"


def test_normalisation_handles_equal_and_diverged_losses() -> None:
    assert normalised([2.0, 2.0, 2.0]).tolist() == [0, 0, 0]
    assert normalised([1.0, math.nan, 3.0, math.inf, 2.0]).tolist() == [0, 1, 1, 1, 0.5]
    assert normalised([math.nan, math.nan]).tolist() == [0, 0]


def test_what_has_diverged_is_no_parent_unless_everything_has() -> None:
    assert selection_probabilities([1.0, math.nan, 1.0, math.inf]) == pytest.approx([0.5, 0, 0.5, 0])
    assert selection_probabilities([math.nan, math.nan]) == pytest.approx([0.5, 0.5])


def test_pairs_are_drawn_with_replacement_by_eq_8() -> None:
    losses = [3.0, 3.5, 4.0]
    pairs = select_pairs(losses, 30_000, np.random.default_rng(0))
    expected = np.exp([0.0, -0.5, -1.0])
    expected /= expected.sum()
    assert selection_probabilities(losses) == pytest.approx(expected)
    for place in (0, 1):
        for k, share in enumerate(expected):
            assert frequent([pair[place] == k for pair in pairs], share)
    assert frequent([a == b for a, b in pairs], float((expected**2).sum()))


def test_scalars_are_inherited_with_frequency_p() -> None:
    count = 200_000
    for p in (0.2689, 0.5, 0.7311):
        child, from_a = mate(torch.ones(count), torch.zeros(count), p, stream())
        assert torch.equal(child, from_a.float())
        assert frequent(child.bool().tolist(), p)


def test_a_pair_of_two_distinct_parents_out_of_two_never_mutates() -> None:
    for losses in ([0.3, 0.9], [0.9, 0.3], [1.0, 1.0]):
        assert pair_mutation_rate(losses, 0, 1, 0.01) == 0
    # eq. 12 would be negative for the best with itself when the population is this small
    for losses in ([0.0, 1.0], [0.0, 1.0, 1.0]):
        assert pair_mutation_rate(losses, 0, 0, 0.01) == 0
    assert pair_mutation_rate([1.0] * 10, 3, 4, 0.01) == pytest.approx(0.008)


@pytest.mark.parametrize("kind", ["uniform", "gaussian", "additive"])
def test_mutation_hits_at_its_rate_and_makes_what_it_says(kind: MutationKind) -> None:
    count, rate = 100_000, 0.05
    torch.manual_seed(0)
    child = torch.cat([torch.randn(count) * 0.1, torch.randn(count) * 10])
    mutated = mutate(child, rate, kind, [count, count], stream())
    for k, scale in enumerate((0.1, 10.0)):
        before, after = child[k * count : (k + 1) * count], mutated[k * count : (k + 1) * count]
        hit = before != after
        assert frequent(hit.tolist(), rate)
        if kind == "uniform":
            assert uniform(after[hit].tolist(), 0, 1)
        noise = after[hit] - before[hit] if kind == "additive" else after[hit]
        if kind != "uniform":
            assert float(noise.std()) == pytest.approx(scale, rel=0.06)


def test_no_rate_changes_nothing_and_one_stream_gives_one_child() -> None:
    row = torch.randn(1000, generator=stream(3))
    assert torch.equal(mutate(row, 0.0, "gaussian", [1000], stream()), row)
    again = [mutate(row, 0.1, "additive", [400, 600], stream(5)) for _ in range(2)]
    assert torch.equal(*again)


def test_records_survive_json_and_strangers_are_refused() -> None:
    unit = UnitModel(0.3, 0.001, 1.25, True)
    assert UnitModel.from_json(unit.to_json()) == unit
    with pytest.raises(EvooptError, match="not the record of a unit model"):
        UnitModel.from_json({"kind": "optimizer_genome"})
