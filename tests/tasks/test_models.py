from __future__ import annotations

import pytest
import torch
from torch import nn

from evoopt.tasks.models import CIFAR10CNN, MLP, SmallCNN, SmallDigitsCNN

MODELS = {
    "MLP 64-32-10": (lambda: MLP(64, 32, 10), (1, 8, 8), 2_410),
    "MLP 784-64-10": (lambda: MLP(784, 64, 10), (1, 28, 28), 50_890),
    "SmallDigitsCNN": (SmallDigitsCNN, (1, 8, 8), 6_090),
    "SmallCNN": (SmallCNN, (1, 28, 28), 824_458),
    "CIFAR10CNN": (CIFAR10CNN, (3, 32, 32), 2_168_554),
}


@pytest.mark.parametrize("name", MODELS)
def test_parameter_count_is_the_published_one(name: str) -> None:
    make, _, count = MODELS[name]
    assert sum(parameter.numel() for parameter in make().parameters()) == count


@pytest.mark.parametrize("name", MODELS)
def test_maps_a_batch_of_images_to_ten_logits(name: str) -> None:
    make, shape, _ = MODELS[name]
    assert make()(torch.randn(3, *shape)).shape == (3, 10)


@pytest.mark.parametrize("name", MODELS)
def test_initial_weights_follow_from_the_global_seed(name: str) -> None:
    make, _, _ = MODELS[name]
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(torch.cat([p.detach().flatten() for p in make().parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize(("make", "rates"), [(SmallCNN, [0.3]), (CIFAR10CNN, [0.25, 0.25, 0.5])])
def test_dropout_consists_of_modules_with_the_published_rates(
    make: type[nn.Module], rates: list[float]
) -> None:
    assert [module.p for module in make().modules() if isinstance(module, nn.Dropout)] == rates


def test_batch_norm_follows_only_the_first_convolution_of_each_block() -> None:
    kinds = [type(module) for module in CIFAR10CNN()]
    followers = [kinds[i + 1] for i, kind in enumerate(kinds) if kind is nn.Conv2d]
    assert followers == [nn.BatchNorm2d, nn.ReLU, nn.BatchNorm2d, nn.ReLU]


def test_mlp_has_relu_between_layers_but_not_after_the_last() -> None:
    assert [type(module) for module in MLP(4, 3, 2)] == [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
