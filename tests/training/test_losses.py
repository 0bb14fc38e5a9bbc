"""Losses of a population, and their gradients, are those of its members alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.training.forward import losses_and_their_gradient


def own(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs - targets) ** 4).mean() + outputs.mean() ** 2


NUMBERS = {
    "mse_loss": F.mse_loss,
    "MSELoss": nn.MSELoss(),
    "its sum": nn.MSELoss(reduction="sum"),
    "L1Loss": nn.L1Loss().eval(),
    "SmoothL1Loss": nn.SmoothL1Loss(),
    "another beta": nn.SmoothL1Loss(beta=0.3),
    "huber_loss": F.huber_loss,
    "BCEWithLogitsLoss": nn.BCEWithLogitsLoss(),
    "weighted": nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0, dtype=torch.float64)),
    "own": own,
}
CLASSES = {
    "cross_entropy": F.cross_entropy,
    "CrossEntropyLoss": nn.CrossEntropyLoss(),
    "smoothed": nn.CrossEntropyLoss(label_smoothing=0.2),
    "multi_margin_loss": F.multi_margin_loss,
}


def check(loss: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, y: Tensor, shared: bool) -> None:
    losses, gradient = losses_and_their_gradient(loss, outputs, y, shared)
    for k, member in enumerate(outputs.clone()):
        alone = loss(member.requires_grad_(), y if shared else y[k])
        alone.backward()
        torch.testing.assert_close(losses[k], alone.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradient[k], member.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("shape", [(5,), (5, 4), (5, 2, 3)], ids=str)
@pytest.mark.parametrize("loss", NUMBERS.values(), ids=list(NUMBERS))
def test_of_numbers(loss: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...], shared: bool) -> None:
    torch.manual_seed(0)
    outputs = torch.randn(3, *shape, dtype=torch.float64)
    check(loss, outputs, torch.rand(shape if shared else outputs.shape, dtype=torch.float64), shared)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("loss", CLASSES.values(), ids=list(CLASSES))
def test_of_classes(loss: Callable[[Tensor, Tensor], Tensor], shared: bool) -> None:
    torch.manual_seed(0)
    outputs = torch.randn(3, 6, 4, dtype=torch.float64)
    check(loss, outputs, torch.randint(0, 4, (6,) if shared else (3, 6)), shared)


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_targets_that_are_broadcast_are_those_of_each_member() -> None:
    torch.manual_seed(0)
    outputs = torch.randn(3, 5, 4, dtype=torch.float64)
    check(F.mse_loss, outputs, torch.randn(4, dtype=torch.float64), shared=True)
    check(nn.MSELoss(), outputs, torch.randn(3, 1, 4, dtype=torch.float64), shared=False)
