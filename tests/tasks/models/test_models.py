from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import nn

from evoopt.tasks import TASKS
from evoopt.tasks.models import (
    CIFAR10CNN,
    MLP,
    CapsNet,
    FacesCNN,
    LeNet5,
    P3B1Network,
    ResNet20,
    RPVNetwork,
    SmallCNN,
    SmallDigitsCNN,
    VariableLeNet,
)


class Published(NamedTuple):
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    outputs: int
    parameters: int


MODELS = {
    "MLP 64-32-10": Published(partial(MLP, 64, 32, 10), (1, 8, 8), 10, 2_410),
    "MLP 784-64-10": Published(partial(MLP, 784, 64, 10), (1, 28, 28), 10, 50_890),
    "SmallDigitsCNN": Published(SmallDigitsCNN, (1, 8, 8), 10, 6_090),
    "SmallCNN": Published(SmallCNN, (1, 28, 28), 10, 824_458),
    "CIFAR10CNN": Published(CIFAR10CNN, (3, 32, 32), 10, 2_168_554),
    "LeNet5": Published(LeNet5, (1, 28, 28), 10, 61_706),
    "FacesCNN": Published(FacesCNN, (1, 64, 64), 40, 5_593_064),
    "VariableLeNet": Published(VariableLeNet, (1, 28, 28), 10, 3_274_634),
    "VariableLeNet, optimum": Published(partial(VariableLeNet, (4, 4), (8, 18)), (1, 28, 28), 10, 916_900),
    "RPVNetwork": Published(RPVNetwork, (3, 64, 64), 1, 137_233),
    "RPVNetwork, one channel": Published(partial(RPVNetwork, channels=1), (1, 64, 64), 1, 137_089),
    "RPVNetwork, optimum": Published(
        partial(RPVNetwork, (4, 4, 4), (8, 15, 28), 59), (3, 64, 64), 1, 114_922
    ),
    "ResNet20": Published(ResNet20, (3, 32, 32), 10, 273_066),
    "CapsNet": Published(CapsNet, (3, 32, 32), 10, 280_640),
    "P3B1Network": Published(P3B1Network, (400,), 19, 9_151_219),
}

TASK_PARAMETERS = {
    "yeast": 2_290,
    "adult": 3_932,
    "adult_raw": 1_112,
    "letter": 6_066,
    "mnist_lenet5": 61_706,
    "orl5": 5_593_064,
    "orl7": 5_593_064,
    "orl9": 5_593_064,
    "mnist_lenet_hpo": 3_274_634,
    "cifar10_resnet20": 273_066,
    "cifar10_capsnet": 280_640,
    "rpv": 137_233,
    "p3b1": 9_151_219,
    "fashion_mnist_cnn_small": 105_866,
    "cifar10_cnn_small": 136_874,
    "mnist_autoencoder": 437_664,
    "characters": 112_065,
}


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_the_published_size_and_maps_a_batch_to_the_outputs(name: str) -> None:
    published = MODELS[name]
    model = published.make()
    assert parameters(model) == published.parameters
    assert model(torch.randn(3, *published.shape)).shape == (3, published.outputs)


@pytest.mark.parametrize("name", TASK_PARAMETERS)
def test_tasks_use_models_of_the_size_that_is_told(name: str) -> None:
    assert parameters(TASKS[name].make_model()) == TASK_PARAMETERS[name]


@pytest.mark.parametrize("name", MODELS)
def test_initial_weights_follow_from_the_global_seed(name: str) -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(torch.cat([p.detach().flatten() for p in MODELS[name].make().parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize(
    ("make", "rates"),
    [
        (SmallCNN, [0.3]),
        (CIFAR10CNN, [0.25, 0.25, 0.5]),
        (LeNet5, [0.2, 0.2]),
        (FacesCNN, [0.5]),
        (VariableLeNet, [0.5]),
        (RPVNetwork, [0.5, 0.5]),
        (P3B1Network, [0.1] * 7),
    ],
)
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


@pytest.mark.parametrize("kernel", range(2, 10))
def test_convolutions_of_any_kernel_keep_the_size_of_images(kernel: int) -> None:
    layers = [*RPVNetwork((kernel,) * 3, (2, 3, 4), 5)][:-6]
    assert nn.Sequential(*layers)(torch.randn(1, 3, 64, 64)).shape == (1, 4, 8, 8)


def test_even_kernels_are_padded_more_at_the_end_as_in_tensorflow() -> None:
    padding, convolution, *_ = VariableLeNet((2, 5), (1, 1), 4)
    image = torch.zeros(1, 1, 28, 28)
    image[..., 0, 0] = 1.0
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        convolution.bias.zero_()
        met = convolution(padding(image))
    assert met[0, 0, 0, 0] == 1
    assert met.sum() == 1


def test_variable_lenet_starts_from_truncated_normal_weights_and_biases_of_a_tenth() -> None:
    of_kind: dict[str, list[torch.Tensor]] = {"weight": [], "bias": []}
    for name, parameter in VariableLeNet().named_parameters():
        of_kind[name.rpartition(".")[2]].append(parameter.detach().flatten())
    weights, biases = (torch.cat(of_kind[kind]) for kind in ("weight", "bias"))
    assert weights.abs().max() <= 0.2
    assert weights.std().item() == pytest.approx(0.088, abs=1e-3)  # 0.1 before the tails were cut off
    torch.testing.assert_close(biases, torch.full_like(biases, 0.1))


def test_shortcuts_of_the_residual_network_change_the_shape_where_blocks_do() -> None:
    shortcuts = [block.shortcut for block in [*ResNet20()][3:12]]
    assert [type(shortcut) is nn.Conv2d for shortcut in shortcuts] == [k in (3, 6) for k in range(9)]
    assert all(m.bias is not None for m in ResNet20().modules() if isinstance(m, nn.Conv2d))
