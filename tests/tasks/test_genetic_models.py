"""The networks of the genetic training paper, and the tasks on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from evoopt.errors import EvooptError, SealedTestError
from evoopt.tasks import DataOptions, load_task_data
from evoopt.tasks.genetic_models import (
    GENETIC_TASKS,
    GRAYSCALE_CIFAR10,
    GeneticDigitsNet,
    GeneticLeNet,
    GeneticMNISTNet,
    load_grayscale_cifar10,
)
from evoopt.tasks.models.glorot import glorot_std


@pytest.mark.parametrize(
    ("model", "shape", "parameters"),
    [
        (GeneticMNISTNet(), (1, 28, 28), 4540),
        (GeneticMNISTNet("136"), (1, 28, 28), 4540),
        (GeneticLeNet(), (1, 32, 32), 291_870),
        (GeneticLeNet(3), (3, 32, 32), 292_170),
        (GeneticDigitsNet(), (1, 8, 8), 1552),
    ],
)
def test_networks_have_the_published_sizes_and_no_biases(
    model: nn.Module, shape: tuple[int, ...], parameters: int
) -> None:
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert not [name for name, _ in model.named_parameters() if "bias" in name]
    assert model(torch.zeros(2, *shape)).shape == (2, 10)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (GeneticMNISTNet, (0.1104, 0.0913, 0.1414, 0.2887, 0.2020, 0.2000)),
        (GeneticLeNet, (0.1069, 0.0603, 0.0243, 0.0313, 0.0990, 0.1459)),
    ],
)
def test_initial_weights_have_the_spread_that_keras_gives_them(
    model: type[nn.Module], expected: tuple[float, ...]
) -> None:
    torch.manual_seed(0)
    models = [model() for _ in range(1 if model is GeneticLeNet else 200)]
    for weights, std in zip(zip(*(m.parameters() for m in models)), expected):
        drawn = torch.cat([weight.detach().flatten() for weight in weights])
        assert glorot_std(weights[0].shape) == pytest.approx(std, abs=5e-5)
        assert drawn.std().item() == pytest.approx(std, rel=4 / len(drawn) ** 0.5)
        assert drawn.abs().max().item() <= 2 * std / 0.8796 * 1.001


SHAPES: dict[type[nn.Sequential], list[tuple[int, int]]] = {  # channels, width and height
    GeneticMNISTNet: [(40, 28), (40, 14), (20, 14), (20, 7), (5, 7), (5, 3), (1, 3)],
    GeneticLeNet: [(6, 32), (6, 16), (16, 16), (16, 8), (120, 8), (120, 4)],
}


@pytest.mark.parametrize(("model", "size"), [(GeneticMNISTNet, 28), (GeneticLeNet, 32)])
def test_the_shapes_between_the_layers_are_those_of_the_resolved_table(
    model: type[nn.Sequential], size: int
) -> None:
    shapes, x = [], torch.zeros(1, 1, size, size)
    for layer in model():
        x = layer(x)
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [(channels, width, width) for channels, width in SHAPES[model]]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_even_kernels_look_to_the_right_and_down_like_those_of_keras() -> None:
    model = GeneticMNISTNet()
    x, weight = torch.randn(2, 1, 28, 28), model[1].weight
    expected = nn.functional.conv2d(x, weight, padding="same")
    assert torch.allclose(model[1](model[0](x)), expected, atol=1e-6)


def test_a_variant_that_does_not_exist_is_refused() -> None:
    with pytest.raises(EvooptError, match="variants '116' and '136', not '126'"):
        GeneticMNISTNet("126")  # type: ignore[arg-type]


def test_the_embedded_task_loads() -> None:
    task = next(task for task in GENETIC_TASKS if task.name == "genetic_digits")
    data = load_task_data(task, DataOptions(validation_fraction=0))
    assert len(data.train) == 1437


@pytest.mark.data
@pytest.mark.parametrize("task", GENETIC_TASKS, ids=lambda task: task.name)
def test_tasks_load(task: object) -> None:
    data = load_task_data(task, DataOptions(train_size=500, download=False))  # type: ignore[arg-type]
    assert len(data.train) == 400


def test_grayscale_is_the_luminance_of_the_colours(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(60) % 10
    np.savez(folder / "cifar10.npz", x_train=images, y_train=labels, x_test=images[:20], y_test=labels[:20])
    options = DataOptions(data_dir=folder, validation_fraction=0, download=False)
    data = load_grayscale_cifar10(options)
    luma = torch.from_numpy(images).double() @ torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64) / 255
    expected = (luma - GRAYSCALE_CIFAR10.mean[0]) / GRAYSCALE_CIFAR10.std[0]
    assert torch.allclose(data.train.x.double(), expected.unsqueeze(1), atol=1e-4)
    with pytest.raises(SealedTestError):
        data.test.open()
