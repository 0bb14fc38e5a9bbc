from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from evoopt.tasks.metrics import (
    balanced_accuracy,
    explained_variance,
    likelihood,
    pixel_variance,
    quadratic_score,
)

# Around the means 1 and 10 of the columns, 4 + 4 + 1 + 1 is what varies.
TARGETS = torch.tensor([[-1.0, 9.0], [1.0, 10.0], [3.0, 11.0]])


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (TARGETS, 1.0),
        (torch.tensor([[1.0, 10.0]]).expand(3, 2), 0.0),
        (TARGETS + torch.tensor([1.0, 0.0]), 1 - 3 / 10),
        (TARGETS + 9, 0.0),
    ],
)
def test_explained_variance_is_relative_to_the_mean_of_each_column(outputs: Tensor, expected: float) -> None:
    assert explained_variance(outputs, TARGETS).item() == pytest.approx(expected)


def test_explained_variance_of_a_single_example_is_no_division_by_zero() -> None:
    assert explained_variance(TARGETS[:1] + 1, TARGETS[:1]).item() == 0


def test_pixels_are_predicted_by_the_sigmoids_of_the_logits() -> None:
    pixels = torch.tensor([[0.2, 0.9], [0.4, 0.1], [0.7, 0.3]])
    assert pixel_variance(pixels.logit(), pixels).item() == pytest.approx(1)
    half = explained_variance(torch.full((3, 2), 0.5), pixels)
    assert pixel_variance(torch.zeros(3, 2), pixels).item() == pytest.approx(half.item())


def test_likelihood_is_the_geometric_mean_of_the_right_probabilities() -> None:
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    assert likelihood(probabilities.log(), torch.tensor([0, 2])).item() == pytest.approx(math.sqrt(0.05))
    at_places = probabilities.T.log().unsqueeze(0)
    assert likelihood(at_places, torch.tensor([[0, 2]])).item() == pytest.approx(math.sqrt(0.05))


def test_quadratic_score_is_one_less_half_the_brier_score() -> None:
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    brier = (0.25 + 0.09 + 0.04 + 0.01 + 0.64 + 0.81) / 2
    assert quadratic_score(probabilities.log(), torch.tensor([0, 2])).item() == pytest.approx(1 - brier / 2)


def test_balanced_accuracy_counts_a_rare_class_as_much_as_a_frequent_one() -> None:
    outputs = torch.eye(4)[[0, 0, 0, 1, 2]]
    assert balanced_accuracy(outputs, torch.tensor([0, 0, 0, 0, 2])).item() == (0.75 + 1) / 2
