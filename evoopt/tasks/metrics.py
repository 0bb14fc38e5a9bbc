"""Metrics besides accuracy: in [0, 1], higher is better, of all examples of a part at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
    """The geometric mean of the right classes' probabilities, in (0, 1]: exp(-cross-entropy).

    Args:
        outputs: Logits ``[n, classes, ...]``.
        targets: Classes ``[n, ...]``.
    """
    return torch.exp(-F.cross_entropy(outputs, targets))


def perplexity_score(outputs: Tensor, targets: Tensor) -> Tensor:
    """``max(0, 1 - perplexity / 100)`` (Marfinetz 2025, published notebook).

    Args:
        outputs: Logits ``[n, classes, ...]``.
        targets: Classes ``[n, ...]``.
    """
    return (1 - torch.exp(F.cross_entropy(outputs, targets)) / 100).clamp(min=0)


def quadratic_score(outputs: Tensor, targets: Tensor) -> Tensor:
    """One less half the Brier score: 1 - mean |probabilities - one-hot target|^2 / 2.

    Finer than accuracy on few examples, and one confident error does not decide it, as it does a likelihood.

    Args:
        outputs: Logits ``[n, classes]``.
        targets: Classes ``[n]``.
    """
    wanted = F.one_hot(targets, outputs.shape[-1]).to(outputs.dtype)
    return 1 - (outputs.softmax(dim=-1) - wanted).square().sum(dim=-1).mean() / 2


def explained_variance(outputs: Tensor, targets: Tensor) -> Tensor:
    """``max(0, 1 - sum (outputs - targets)^2 / sum (targets - mean)^2)``, sums over examples and columns.

    The mean is that of each column over the examples, so that predicting it explains nothing.

    Args:
        outputs: Predictions ``[n, columns]``.
        targets: Numbers ``[n, columns]``.
    """
    missed = (outputs - targets).square().sum()
    varied = (targets - targets.mean(dim=0)).square().sum()
    return (1 - missed / varied.clamp(min=torch.finfo(varied.dtype).tiny)).clamp(min=0)


def pixel_variance(logits: Tensor, pixels: Tensor) -> Tensor:
    """`explained_variance` of pixels in [0, 1] by the sigmoids of logits, both ``[n, pixels]``."""
    return explained_variance(logits.sigmoid(), pixels)


def balanced_accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over the classes that occur of the share of their examples that is recognised.

    Args:
        outputs: Logits ``[n, classes]``.
        targets: Classes ``[n]``.
    """
    right = (outputs.argmax(dim=-1) == targets).to(outputs.dtype)
    hits, counts = (targets.bincount(weights=w, minlength=1) for w in (right, torch.ones_like(right)))
    return (hits[counts > 0] / counts[counts > 0]).mean()
