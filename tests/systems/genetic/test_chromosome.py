"""What a gene is: one filter or neuron with its bias, in the row where a population keeps its weights."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.systems.genetic.chromosome import Encoding, EncodingName
from evoopt.tasks.genetic_models import GeneticDigitsNet, GeneticLeNet, GeneticMNISTNet
from evoopt.training.population import ModelPopulation
from tests.systems.genetic.genes import decode, encode

NAMES: tuple[EncodingName, ...] = ("folded", "accordion", "traditional")


class Branched(nn.Module):
    """No nn.Sequential: the linear layer comes first; biases, a frozen parameter, buffers, groups."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)
        self.norm = nn.BatchNorm2d(4, affine=False)
        self.convolution = nn.Conv2d(2, 4, 3, padding=1, groups=2)
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.convolution(x)).amax(dim=3).flatten(1) * self.scale)


@pytest.mark.parametrize(
    ("model", "counts", "features"),
    [
        (GeneticMNISTNet(), (6, 116, 4540), 66),
        (GeneticMNISTNet("136"), (6, 136, 4540), 86),
        (GeneticLeNet(), (6, 356, 291_870), 142),
        (GeneticDigitsNet(), (4, 50, 1552), 24),
        (Branched(), (2, 7, 4 * 10 + 27), 4),
    ],
)
def test_gene_counts_are_those_of_the_publication(
    model: nn.Module, counts: tuple[int, ...], features: int
) -> None:
    assert tuple(len(Encoding.of(model, name)) for name in NAMES) == counts
    encoding = Encoding.of(model)
    assert len(encoding.genes_of("features")) == features
    assert len(encoding.genes_of("classifier")) == len(encoding) - features


def test_a_gene_is_a_unit_with_its_bias_and_rows_are_those_of_a_population() -> None:
    model = Branched()
    row = ModelPopulation.from_model(model, 1).packed()[0]
    genes = encode(Encoding.of(model), row)
    expected = [torch.cat([layer.weight[k].flatten(), layer.bias[k : k + 1]]) for layer in (
        model.head, model.convolution) for k in range(len(layer.bias))]  # fmt: skip
    assert all(torch.equal(gene, unit) for gene, unit in zip(genes, expected, strict=True))


def test_every_gene_knows_its_layer_and_its_initial_spread() -> None:
    encoding = Encoding.of(Branched())
    assert [layer.name for layer in encoding.layers] == ["head", "convolution"]
    assert [layer.section for layer in encoding.layers] == ["classifier", "features"]
    assert encoding.layer.tolist() == [0] * 3 + [1] * 4
    assert encoding.genes_of("features").tolist() == [3, 4, 5, 6]
    assert encoding.std[0].item() == pytest.approx((2 / 11) ** 0.5)
    assert encoding.std[3].item() == pytest.approx((2 / (1 * 9 + 4 * 9)) ** 0.5)


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=4),
    st.booleans(),
    st.sampled_from(NAMES),
    st.integers(0, 99),
)
def test_decode_undoes_encode(widths: list[int], biased: bool, name: EncodingName, seed: int) -> None:
    layers: list[nn.Module] = [nn.Conv2d(2, widths[0], (2, 3), bias=biased)]
    layers += [nn.Linear(a, b, bias=biased) for a, b in itertools.pairwise(widths)]
    encoding = Encoding.of(nn.Sequential(*layers), name)
    row = torch.randn(len(encoding.gene), generator=torch.Generator().manual_seed(seed))
    genes = encode(encoding, row)
    assert len(genes) == len(encoding)
    assert torch.equal(decode(encoding, genes), row)


def test_a_shared_layer_is_encoded_once() -> None:
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert len(Encoding.of(model)) == 3
    assert len(Encoding.of(model).gene) == ModelPopulation.from_model(model, 1).packed().shape[1]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), r"layer '1' \(LayerNorm\) has no encoding"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), r"layer '1' \(BatchNorm2d\) has no encoding"),
        (nn.LSTM(2, 2), r"layer 'itself' \(LSTM\) has no encoding"),
        (nn.Sequential(nn.ReLU()), "no trained Conv2d or Linear layer"),
        (nn.Linear(2, 2).requires_grad_(False), "no trained Conv2d or Linear layer"),
    ],
)
def test_what_has_no_encoding_is_named(model: nn.Module, message: str) -> None:
    with pytest.raises(EvooptError, match=message):
        Encoding.of(model)


def test_an_unknown_encoding_is_named() -> None:
    with pytest.raises(EvooptError, match=r"unknown encoding .acordion.\. Did you mean .accordion."):
        Encoding.of(GeneticDigitsNet(), "acordion")  # type: ignore[arg-type]
