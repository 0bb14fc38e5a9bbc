"""A layer that occurs twice in a model runs twice, in every way of running a population."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from evoopt.training.dropout import DropoutDraws, with_given_dropout
from evoopt.training.forward import losses_and_gradients, outputs
from evoopt.training.population import ModelPopulation


def repeated_activation() -> nn.Module:
    tanh = nn.Tanh()
    return nn.Sequential(nn.Linear(4, 5), tanh, nn.Linear(5, 5), tanh, nn.Linear(5, 2))


def repeated_linear() -> nn.Module:
    linear = nn.Linear(4, 4)
    return nn.Sequential(linear, nn.Tanh(), linear, nn.Tanh(), nn.Linear(4, 2))


def tied_weights() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 2))
    model[2].weight = model[0].weight
    return model


def padded_images() -> nn.Module:
    return nn.Sequential(
        nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2)
    )


@pytest.mark.parametrize(
    ("make", "shape", "way"),
    [
        (repeated_activation, (4,), "stacked"),
        (repeated_linear, (4,), "vmap"),
        (tied_weights, (4,), "vmap"),
        (padded_images, (1, 2, 2), "stacked"),
    ],
)
def test_outputs_and_gradients_are_those_of_the_model(make: object, shape: tuple[int, ...], way: str) -> None:
    torch.manual_seed(0)
    models = [make().double() for _ in range(2)]  # type: ignore[operator]
    population = ModelPopulation.from_models(models)
    assert population.architecture.way == way
    x, y = torch.randn(7, *shape, dtype=torch.float64), torch.arange(7) % 2
    actual = torch.empty_like(population.weights)
    losses_and_gradients(population, nn.functional.cross_entropy, x, y, {}, actual)
    for k, model in enumerate(models):
        assert torch.allclose(outputs(population, x)[k], model(x), atol=1e-12)
        nn.functional.cross_entropy(model(x), y).backward()
        for name, view in population.architecture.layout.views(actual).items():
            assert torch.allclose(view[k], model.get_parameter(name).grad, atol=1e-12)


def test_a_dropout_layer_at_two_places_gets_numbers_for_each() -> None:
    dropout = nn.Dropout(0.5)
    model = with_given_dropout(nn.Sequential(nn.Linear(4, 5), dropout, nn.Linear(5, 3), dropout))
    drawn = DropoutDraws(model, [1], torch.device("cpu")).draw(torch.zeros(2, 4), 0)
    shapes = {name: tuple(t.shape) for name, t in drawn.items()}
    assert shapes == {"1.uniform": (2, 5), "3.uniform": (2, 3)}
    assert not torch.equal(drawn["1.uniform"][..., :3], drawn["3.uniform"])


def test_a_dropout_layer_at_two_places_has_a_rate_at_each() -> None:
    dropout = nn.Dropout(0.5)
    model = nn.Sequential(nn.Linear(4, 5), dropout, nn.Sequential(nn.Linear(5, 3), dropout))
    population = ModelPopulation.from_model(model, 2)
    population.rates["1"][1] = 0.2
    member = population.member(1)
    assert [float(member[1].p), float(member[2][1].p), dropout.p] == [0.2, 0.5, 0.5]
    population.set_member(0, member)
    assert {name: rates.tolist() for name, rates in population.rates.items()} == {
        "1": [0.2, 0.2], "2.1": [0.5, 0.5]
    }  # fmt: skip
