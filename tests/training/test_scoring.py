"""The fitness of networks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.tasks import Split
from evoopt.tasks.genetic_models import GeneticDigitsNet, GeneticMNISTNet
from evoopt.tasks.metrics import likelihood
from evoopt.training.population import ModelPopulation
from evoopt.training.scoring import Scorer, SideBySide


def examples(count: int = 50) -> Split:
    generator = torch.Generator().manual_seed(0)
    return Split(torch.randn(count, 1, 8, 8, generator=generator), torch.arange(count) % 10)


def population(size: int = 3) -> ModelPopulation:
    torch.manual_seed(0)
    return ModelPopulation.from_models([GeneticDigitsNet() for _ in range(size)])


def test_accuracy_and_likelihood_are_those_of_the_networks() -> None:
    models, split = population(12), examples()
    with torch.no_grad():
        plain = [models.member(k)(split.x) for k in range(12)]
    hits = [float((out.argmax(1) == split.y).float().mean()) for out in plain]
    assert Scorer(models.member(0), split, "accuracy")(models.packed()) == pytest.approx(hits, abs=1e-6)
    chances = [math.exp(-float(nn.functional.cross_entropy(out, split.y))) for out in plain]
    assert Scorer(models.member(0), split, "cross_entropy")(models.packed()) == pytest.approx(
        chances, rel=1e-5
    )


def test_any_function_of_outputs_and_targets_is_a_fitness() -> None:
    def steps(outputs: Tensor, targets: Tensor) -> float:
        assert outputs.shape == (50, 10)
        return -float((outputs.argmax(1) - targets).abs().max())

    models = population()
    assert all(value <= 0 for value in Scorer(models.member(0), examples(), steps)(models.packed()))


def test_networks_without_finite_outputs_have_no_fitness_and_harm_no_others() -> None:
    models = population()
    scorer = Scorer(models.member(0), examples(), "accuracy")
    sound = scorer(models.packed())
    models.weights[1, 3] = math.inf
    models.weights[2, 100] = math.nan
    actual = scorer(models.packed())
    assert actual[0] == sound[0]
    assert math.isnan(actual[1])
    assert math.isnan(actual[2])
    infinite = Scorer(models.member(0), examples(), lambda outputs, targets: math.inf)
    assert math.isnan(infinite(models.packed()[:1])[0])


def test_networks_side_by_side_equal_networks_one_by_one() -> None:
    torch.manual_seed(0)
    models = ModelPopulation.from_models([GeneticMNISTNet() for _ in range(3)]).to("cpu", torch.float64)
    x = torch.randn(30, 1, 28, 28, dtype=torch.float64)
    one_by_one = Scorer(models.member(0), Split(x, torch.zeros(30)), likelihood).outputs(models.packed())
    side_by_side = SideBySide(models[[0]], x)(models.weights)
    assert torch.allclose(one_by_one, side_by_side, rtol=0, atol=1e-9)


@pytest.mark.cuda
def test_scores_on_a_gpu_are_those_of_the_cpu() -> None:
    models, split = population(5), examples()
    here = Scorer(models.member(0), split, "cross_entropy")(models.packed())
    there = Scorer(models.member(0), split, "cross_entropy", "cuda")(models.packed())
    assert there == pytest.approx(here, rel=1e-3)


def test_mistakes_are_named() -> None:
    model = GeneticDigitsNet()
    with pytest.raises(EvooptError, match="unknown fitness 'acuracy'"):
        Scorer(model, examples(), "acuracy")
    with pytest.raises(EvooptError, match="no examples"):
        Scorer(model, examples(0), "accuracy")
    numbers = Split(examples().x, torch.randn(50, 1))
    for fitness in ("accuracy", "cross_entropy"):
        with pytest.raises(EvooptError, match=f"fitness '{fitness}' needs classes as targets"):
            Scorer(model, numbers, fitness)
