from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score

from evoopt.tasks.models import P3B1Network, multitask_accuracy, multitask_f1, multitask_loss
from evoopt.tasks.models.multitask import PUBLISHED_F1

TARGETS = torch.tensor([[12, -1, -1], [0, -1, -1], [-1, 1, -1], [-1, 0, -1], [-1, -1, 3]])


def perfect() -> torch.Tensor:
    outputs = torch.zeros(5, 19)
    for row, column in enumerate((12, 0, 13 + 1, 13 + 0, 15 + 3)):
        outputs[row, column] = 10.0
    return outputs


def test_loss_is_the_mean_cross_entropy_of_the_labels_there_are() -> None:
    outputs = torch.randn(5, 19, generator=torch.Generator().manual_seed(0))
    losses = [
        F.cross_entropy(outputs[:2, :13], TARGETS[:2, 0], reduction="sum"),
        F.cross_entropy(outputs[2:4, 13:15], TARGETS[2:4, 1], reduction="sum"),
        F.cross_entropy(outputs[4:, 15:], TARGETS[4:, 2], reduction="sum"),
    ]
    torch.testing.assert_close(multitask_loss(outputs, TARGETS), torch.stack(losses).sum() / 5)


def test_loss_counts_every_label_of_an_example_that_has_several() -> None:
    outputs = torch.randn(1, 19)
    both = multitask_loss(outputs, torch.tensor([[3, 1, -1]]))
    single = [multitask_loss(outputs, torch.tensor([labels])) for labels in ([3, -1, -1], [-1, 1, -1])]
    torch.testing.assert_close(both, torch.stack(single).mean())


def test_accuracy_is_the_share_of_labels_predicted() -> None:
    outputs = perfect()
    assert multitask_accuracy(outputs, TARGETS).item() == 1
    outputs[3, 14] = 20.0
    assert multitask_accuracy(outputs, TARGETS).item() == pytest.approx(4 / 5)


def test_f1_is_that_of_scikit_learn_as_a_share_of_the_published_one() -> None:
    rng = np.random.default_rng(0)
    outputs = torch.from_numpy(rng.standard_normal((90, 19)))
    targets = torch.full((90, 3), -1)
    shares = []
    for head, (low, high) in enumerate(((0, 13), (13, 15), (15, 19))):
        rows = slice(30 * head, 30 * head + 30)
        targets[rows, head] = torch.from_numpy(rng.integers(0, high - low, 30))
        said = outputs[rows, low:high].argmax(dim=1)
        for average, published in zip(("macro", "micro"), PUBLISHED_F1[head], strict=True):
            shares.append(f1_score(targets[rows, head], said, average=average) / published)
    assert multitask_f1(outputs, targets).item() == pytest.approx(min(shares), rel=1e-6)
    assert multitask_f1(perfect(), TARGETS).item() == 1
    assert PUBLISHED_F1 == ((0.275, 0.506), (0.907, 0.907), (0.485, 0.647))


def test_an_example_reaches_only_the_shared_layer_and_its_own_head() -> None:
    model = P3B1Network(6, (4, 5, 3), inputs=7)
    multitask_loss(model(torch.randn(2, 7)), torch.tensor([[-1, 1, -1], [-1, 0, -1]])).backward()
    touched = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {name.rsplit(".", 2)[0] for name in touched} == {"shared", "heads.1"}
