"""Losses, and targets for them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.case import (
    BITS,
    CLASSES,
    REALS,
    VECTORS,
    Case,
    chain,
    linear,
)


def hinge(outputs: Tensor, targets: Tensor) -> Tensor:
    return sum(F.relu(1 - outputs[k, targets[k]]) for k in range(len(targets))) / len(targets)  # type: ignore[return-value]


LOSSES = {
    "squares": Case(linear(1), y=REALS, loss=F.mse_loss),
    "squares of numbers": Case(chain(linear(1), lambda: nn.Flatten(0)), y=REALS[:, 0], loss=F.mse_loss),
    "squares of whole numbers": Case(linear(4), y=BITS.long(), loss=F.mse_loss),
    "autoencoder": Case(chain(linear(2), lambda: nn.Linear(2, 6)), y=VECTORS, loss=nn.SmoothL1Loss()),
    "bits": Case(linear(4), y=BITS, loss=F.binary_cross_entropy_with_logits),
    "one bit": Case(chain(linear(1), lambda: nn.Flatten(0)), y=BITS[:, 0], loss=nn.BCEWithLogitsLoss()),
    "counts": Case(linear(1), y=CLASSES[:, None], loss=nn.PoissonNLLLoss()),
    "smoothed labels": Case(linear(), loss=nn.CrossEntropyLoss(label_smoothing=0.1)),
    "weighted classes": Case(linear(), loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))),
    "log-likelihood": Case(chain(linear(), lambda: nn.LogSoftmax(1)), loss=F.nll_loss),
    "probabilities": Case(linear(), y=VECTORS[:, :3].softmax(dim=1)),
    "divergence": Case(
        chain(linear(), lambda: nn.LogSoftmax(1)),
        y=VECTORS[:, :3].softmax(dim=1),
        loss=nn.KLDivLoss(reduction="batchmean"),
    ),
    "margin": Case(linear(), loss=F.multi_margin_loss),
    "hinge in a loop": Case(linear(), loss=hinge),
    "some examples left out": Case(
        linear(), loss=lambda outputs, y: F.cross_entropy(outputs[y != 2], y[y != 2])
    ),
    "sum": Case(linear(), loss=lambda outputs, y: F.cross_entropy(outputs, y, reduction="sum") / 10),
    "many classes": Case(linear(500), y=CLASSES * 200),
    "one per example": Case(
        linear(), loss=lambda outputs, y: F.cross_entropy(outputs, y, reduction="none"), refused="0-dim"
    ),
    "Python number": Case(
        linear(), loss=lambda outputs, y: float(F.cross_entropy(outputs, y)), refused="0-dim"
    ),
    "targets that broadcast": Case(linear(1), y=REALS[:, 0], loss=F.mse_loss, refused="(?i)broadcast|shape"),
    "column of classes": Case(linear(), y=CLASSES[:, None], refused=r"pass y\.squeeze\(1\)"),
    "one-hot": Case(linear(), y=F.one_hot(CLASSES, 3), refused=r"pass classes, y\.argmax\(1\)"),
    "classes from 1": Case(linear(), y=CLASSES + 1, refused="pass y - 1"),
}
