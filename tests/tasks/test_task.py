from __future__ import annotations

from typing import Any

import pytest
import torch

from evoopt.errors import EvooptError, SealedTestError
from evoopt.tasks import DataOptions, SealedSplit, Split, accuracy


def some_split() -> Split:
    return Split(torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 0]))


def test_sealed_split_refuses_to_open_but_tells_its_size() -> None:
    sealed = SealedSplit(some_split())
    assert len(sealed) == 3
    with pytest.raises(SealedTestError, match="sealed during a search"):
        sealed.open()


def test_unsealed_split_opens() -> None:
    split = some_split()
    assert SealedSplit(split, unsealed=True).open() is split


def test_split_moves_floating_point_tensors_only_to_a_dtype() -> None:
    moved = some_split().to("cpu", torch.float64)
    assert (moved.x.dtype, moved.y.dtype) == (torch.float64, torch.int64)
    assert torch.equal(moved.x, some_split().x.double())


def test_accuracy_counts_largest_outputs() -> None:
    outputs = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 4.0], [1.0, 0.0]])
    assert accuracy(outputs, torch.tensor([0, 1, 0, 1])).item() == 0.5


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("train_size", 0),
        ("validation_fraction", -0.1),
        ("validation_fraction", 1.0),
        ("validation_fraction", float("nan")),
        ("seed", -1),
    ],
)
def test_bad_options_are_named(setting: str, value: Any) -> None:
    with pytest.raises(EvooptError, match=f"{setting}.*{value}"):
        DataOptions(**{setting: value})
