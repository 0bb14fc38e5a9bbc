"""Crossover and mutation of weights: what changes, by how much, and that nothing else does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.systems.genetic.chromosome import SECTIONS, Encoding, EncodingName
from evoopt.systems.genetic.weight_operators import Mutation, WeightOperators
from evoopt.tasks.genetic_models import GeneticDigitsNet, GeneticLeNet, GeneticMNISTNet
from evoopt.tasks.models.glorot import truncated_normal
from tests.systems.genetic.genes import encode

ENCODINGS: tuple[EncodingName, ...] = ("accordion", "traditional")


def rngs(*seeds: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in seeds]


def rows(count: int, width: int) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(1))


@settings(max_examples=20)
@given(st.sampled_from(ENCODINGS), st.integers(0, 2**62))
def test_mating_with_itself_is_the_parent_bit_for_bit(name: EncodingName, seed: int) -> None:
    operators = WeightOperators(Encoding.of(GeneticDigitsNet(), name))
    parent = rows(2, 1552)
    for child in operators.mate(parent, parent, rngs(seed, seed + 1)):
        assert torch.equal(child, parent)


@settings(max_examples=20)
@given(st.sampled_from(ENCODINGS), st.integers(0, 2**62))
def test_children_are_complementary_and_keep_genes_whole(name: EncodingName, seed: int) -> None:
    encoding = Encoding.of(GeneticDigitsNet(), name)
    a, b = rows(2, 1552)[0:1], rows(2, 1552)[1:2]
    first, second = WeightOperators(encoding).mate(a, b, rngs(seed))
    from_a = first == a
    assert torch.equal(first, torch.where(from_a, a, b))
    assert torch.equal(second, torch.where(from_a, b, a))
    of_gene = torch.zeros(len(encoding)).index_add_(0, encoding.gene, from_a[0].float())
    assert torch.equal(of_gene[of_gene > 0], torch.bincount(encoding.gene)[of_gene > 0].float())


def test_the_coin_is_fair_and_a_new_one_for_each_gene() -> None:
    encoding = Encoding.of(GeneticMNISTNet())
    zeros, ones = torch.zeros(400, 4540), torch.ones(400, 4540)
    first, _ = WeightOperators(encoding).mate(zeros, ones, rngs(*range(400)))
    heads = torch.stack([first[:, encoding.gene == gene][:, 0] for gene in range(len(encoding))])
    assert abs(heads.mean().item() - 0.5) < 4 * 0.5 / math.sqrt(heads.numel())
    correlations = torch.corrcoef(heads) - torch.eye(len(heads))
    assert correlations.abs().max() < 6 / math.sqrt(400)


@pytest.mark.parametrize(
    ("model", "name", "expected"),
    [
        (GeneticMNISTNet(), "accordion", (6, 5)),
        (GeneticMNISTNet("136"), "accordion", (8, 5)),
        (GeneticLeNet(), "accordion", (14, 21)),
        (GeneticMNISTNet(), "traditional", (378, 76)),
        (GeneticLeNet(), "traditional", (5055, 24_132)),
    ],
)
def test_mutated_gene_counts_are_those_of_the_publication(
    model: nn.Module, name: EncodingName, expected: tuple[int, int]
) -> None:
    encoding = Encoding.of(model, name)
    row = torch.zeros(1, len(encoding.gene))
    mutated = WeightOperators(encoding).mutate(row, rngs(3))
    changed = encoding.gene[mutated[0] != 0].unique()
    assert tuple(np.isin(changed, encoding.genes_of(section)).sum() for section in SECTIONS) == expected
    whole = torch.isin(encoding.gene, changed)
    assert torch.equal(mutated[0] != 0, whole)
    assert not row.any()


def test_filters_get_independent_noise_and_neurons_one_number_for_all_weights() -> None:
    encoding = Encoding.of(GeneticLeNet())
    operators = WeightOperators(encoding, Mutation(ratio=1.0))
    mutated = operators.mutate(torch.zeros(1, 291_870), rngs(5))
    genes = encode(encoding, mutated[0])
    features = torch.cat([genes[k] for k in encoding.genes_of("features")])
    assert features.std().item() == pytest.approx(0.5, rel=0.02)
    assert abs(features.mean().item()) < 0.01
    layer = encoding.layers[3]
    neurons = [genes[k] for k in layer.genes]
    assert all(len(gene.unique()) == 1 for gene in neurons)
    numbers = torch.stack([gene[0] for gene in neurons])
    assert numbers.std().item() == pytest.approx(layer.std, rel=0.2)
    assert numbers.abs().max().item() <= 2 * layer.std / 0.8796 + 1e-6


def test_per_weight_draws_a_number_for_each_link() -> None:
    encoding = Encoding.of(GeneticLeNet())
    mutated = WeightOperators(encoding, Mutation(per_weight=True)).mutate(torch.zeros(1, 291_870), rngs(5))
    layer = encoding.layers[3]
    changed = [
        gene for gene in encode(encoding, mutated[0])[layer.genes.start : layer.genes.stop] if gene.any()
    ]
    assert all(len(gene.unique()) > 1900 for gene in changed)
    assert torch.cat(changed).std().item() == pytest.approx(layer.std, rel=0.05)


def test_matched_mutations_are_equally_strong_in_both_encodings() -> None:
    found = {}
    for name in ENCODINGS:
        encoding = Encoding.of(GeneticMNISTNet(), name)
        operators = WeightOperators(encoding, Mutation(matched=True))
        features = torch.isin(encoding.gene, encoding.genes_of("features"))
        noise = operators.mutate(torch.zeros(3000, 4540), rngs(*range(3000)))
        found[name] = [float(noise[:, part].square().sum(dim=1).mean()) for part in (features, ~features)]
    expected = 0.1 * 3780 * 0.25
    assert found["accordion"][0] == pytest.approx(expected, rel=0.03)
    assert found["traditional"][0] == pytest.approx(expected, rel=0.01)
    assert found["accordion"][1] == pytest.approx(found["traditional"][1], rel=0.06)


def test_small_sections_mutate_at_least_one_gene_and_ratio_zero_none() -> None:
    encoding = Encoding.of(nn.Sequential(nn.Linear(3, 2)))
    row = torch.zeros(1, 8)
    assert (WeightOperators(encoding).mutate(row, rngs(0)) != 0).sum() == 4
    assert not WeightOperators(encoding, Mutation(ratio=0.0)).mutate(row, rngs(0)).any()


def test_a_child_depends_on_its_own_stream_only() -> None:
    operators = WeightOperators(Encoding.of(GeneticDigitsNet()))
    a, b = rows(4, 1552), rows(4, 1552).flip(0)
    together = operators.mutate(operators.mate(a, b, rngs(*range(4)))[0], rngs(*range(4, 8)))
    alone = operators.mutate(operators.mate(a[2:3], b[2:3], rngs(2))[0], rngs(6))
    assert torch.equal(together[2:3], alone)


@pytest.mark.cuda
def test_children_are_the_same_on_a_gpu() -> None:
    operators = WeightOperators(Encoding.of(GeneticMNISTNet()))
    a, b = rows(4, 4540), rows(4, 4540).flip(0)
    here = operators.mutate(operators.mate(a, b, rngs(*range(4)))[1], rngs(*range(4)))
    there = operators.mutate(operators.mate(a.cuda(), b.cuda(), rngs(*range(4)))[1], rngs(*range(4)))
    assert torch.equal(here, there.cpu())


def test_truncated_normal_has_variance_one_and_is_cut() -> None:
    drawn = truncated_normal(200_000, np.random.default_rng(0))
    assert drawn.std() == pytest.approx(1, rel=0.01)
    assert np.abs(drawn).max() == pytest.approx(2 / 0.8796, rel=1e-3)


def test_operators_say_what_is_wrong() -> None:
    with pytest.raises(EvooptError, match="the folded encoding only describes"):
        WeightOperators(Encoding.of(GeneticDigitsNet(), "folded"))
    with pytest.raises(EvooptError, match=r"ratio must lie between 0 and 1, not 1\.5"):
        Mutation(ratio=1.5)
    with pytest.raises(EvooptError, match="sigma must be a number of at least 0, not -1"):
        Mutation(sigma=-1)
