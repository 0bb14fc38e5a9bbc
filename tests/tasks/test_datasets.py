from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evoopt.tasks import DataOptions, TaskData
from evoopt.tasks.datasets import CIFAR10, DIGITS, FASHION_MNIST, MNIST, image_set_loader, load_digits
from evoopt.tasks.embedded import load_embedded
from tests.tasks.conftest import SHAPES, random_arrays


def test_digits_division_is_fixed_stratified_and_independent_of_the_seed() -> None:
    first, other = (load_digits(DataOptions(seed=seed, unseal_test=True)) for seed in (0, 1))
    assert (len(first.train) + len(first.validation), len(first.test)) == (1437, 360)
    assert torch.equal(first.test.open().x, other.test.open().x)
    held_out = first.test.open().y.bincount()
    rest = torch.cat([first.train.y, first.validation.y]).bincount()
    assert ((held_out - (held_out + rest) * 360 / 1797).abs() < 1).all()
    assert not torch.equal(first.train.x, other.train.x)


def test_digits_parts_together_are_the_whole_data_set() -> None:
    from sklearn.datasets import load_digits as original

    data = load_digits(DataOptions(unseal_test=True))
    parts = (data.train, data.validation, data.test.open())
    rows = torch.cat([torch.cat([part.x.flatten(1), part.y.unsqueeze(1).float()], 1) for part in parts])
    content = original()
    pixels = DIGITS(torch.from_numpy(content.images).unsqueeze(1)).flatten(1)
    expected = torch.cat([pixels, torch.from_numpy(content.target).unsqueeze(1).float()], 1)
    assert sorted(rows.tolist()) == sorted(expected.tolist())


def test_digits_are_normalised_with_the_constants_of_their_training_part() -> None:
    x = load_digits(DataOptions(validation_fraction=0.0)).train.x.double()
    assert abs(x.mean().item()) < 2e-4
    assert abs(x.std().item() - 1) < 2e-4


@pytest.mark.parametrize("name", SHAPES)
def test_image_sets_are_contiguous_nchw_float32_with_int64_classes(name: str, synthetic_data: Path) -> None:
    data = image_set_loader(name)(DataOptions(data_dir=synthetic_data, unseal_test=True))
    height, width, channels = (*SHAPES[name], 1)[:3]
    assert data.train.x.shape == (48, channels, height, width)
    for part in (data.train, data.validation, data.test.open()):
        assert (part.x.dtype, part.y.dtype) == (torch.float32, torch.int64)
        assert part.x.is_contiguous()


def test_channels_of_colour_images_keep_their_order(synthetic_data: Path) -> None:
    arrays = random_arrays(SHAPES["cifar10"])
    data = image_set_loader("cifar10")(DataOptions(data_dir=synthetic_data, unseal_test=True))
    pixel = arrays["x_test"][3, 5, 7] / 255
    expected = (pixel - np.array(CIFAR10.mean)) / np.array(CIFAR10.std)
    np.testing.assert_allclose(data.test.open().x[3, :, 5, 7].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_published_normalisation_constants() -> None:
    assert (MNIST.mean, MNIST.std) == ((0.1307,), (0.3081,))
    assert (FASHION_MNIST.mean, FASHION_MNIST.std) == ((0.2860,), (0.3530,))
    assert CIFAR10.mean == (0.4914, 0.4822, 0.4465)
    assert CIFAR10.std == (0.2470, 0.2435, 0.2616)


def test_tasks_and_digits_import_neither_torchvision_nor_scikit_learn() -> None:
    code = (
        "import sys, evoopt.tasks as tasks; tasks.get_task('digits').load(tasks.DataOptions()); "
        "print({'torchvision', 'sklearn', 'scipy'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.data
@pytest.mark.parametrize("name", SHAPES)
def test_real_images_have_mean_0_and_standard_deviation_1(
    name: str, real_data: Callable[[str], Path]
) -> None:
    data: TaskData = image_set_loader(name)(DataOptions(data_dir=real_data(name), train_size=15_000))
    assert (len(data.train), len(data.validation), len(data.test)) == (12_000, 3_000, 10_000)
    assert data.train.x.mean((0, 2, 3)).abs().max() < 0.02
    assert (data.train.x.std((0, 2, 3)) - 1).abs().max() < 0.02
    train, validation = data.train.y.bincount() / 12_000, data.validation.y.bincount() / 3_000
    assert (train - validation).abs().max() < 1 / 3_000 + 1 / 12_000


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine"])
def test_embedded_data_are_scikit_learns(name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    found = load_embedded(name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for own in (found, load_embedded(name)):  # from its file, and where that lies elsewhere
        assert np.array_equal(own[0], x)
        assert np.array_equal(own[1], y)
        assert own[1].dtype == np.int64
