"""Published optimizers in plain torch, written from their formulas; they share no code with the package.

Each is a generator of one form: from a tensor and its gradients, one a step, the tensor after each step, in
the precision of what it is given. A learning rate is one number, or one a step. Defaults are those that
publications recommend; steps count from 1. What sees a matrix as a matrix is in
`tests.optim.published_matrices`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

Rate = float | Sequence[float]


def rates(lr: Rate, steps: int) -> Sequence[float]:
    """The learning rate of each step."""
    return [lr] * steps if isinstance(lr, float) else lr


def adam_directions(grads: Iterable[Tensor], beta1: float, beta2: float, eps: float) -> Iterator[Tensor]:
    """Kingma and Ba (2015), algorithm 1: both moments corrected, eps outside the root."""
    m = v = torch.zeros(())
    for t, g in enumerate(grads, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        yield m_hat / (v_hat.sqrt() + eps)


def adamw(
    weight: Tensor, grads: Sequence[Tensor], *, lr: Rate = 1e-3, beta1: float = 0.9, beta2: float = 0.999,
    eps: float = 1e-8, weight_decay: float = 1e-2,
) -> Iterator[Tensor]:  # fmt: skip
    """Loshchilov and Hutter (2019), algorithm 2, with the decay times the learning rate as torch has it."""
    for rate, u in zip(rates(lr, len(grads)), adam_directions(grads, beta1, beta2, eps)):
        weight = weight - rate * (u + weight_decay * weight)
        yield weight


def cautious_adamw(
    weight: Tensor, grads: Sequence[Tensor], *, lr: Rate = 1e-3, beta1: float = 0.9, beta2: float = 0.999,
    eps: float = 1e-6, weight_decay: float = 0.0, count: bool = False,
) -> Iterator[Tensor]:  # fmt: skip
    """Liang et al. (2024), "Cautious Optimizers", algorithm 1 on AdamW.

    What remains of the update is divided by the mean of its mask, at least 1e-3, as in the authors' code;
    with ``count``, multiplied by the number of weights over one more than the number of those that move, as
    it was first. The mask does not touch the decay.
    """
    for rate, g, u in zip(rates(lr, len(grads)), grads, adam_directions(grads, beta1, beta2, eps)):
        mask = (u * g > 0).to(g.dtype)
        scale = mask.numel() / (mask.sum() + 1) if count else 1 / mask.mean().clamp(min=1e-3)
        weight = (1 - rate * weight_decay) * weight - rate * scale * mask * u
        yield weight


def adamw_with_cautious_decay(
    weight: Tensor, grads: Sequence[Tensor], *, lr: Rate = 1e-3, beta1: float = 0.9, beta2: float = 0.999,
    eps: float = 1e-8, weight_decay: float = 1e-1,
) -> Iterator[Tensor]:  # fmt: skip
    """Chen et al. (2025), "Cautious Weight Decay", algorithm 1 on AdamW.

    A weight decays if its update, which is subtracted, has its sign or is zero, both as before the step. The
    publication keeps the decay that was tuned for AdamW.
    """
    for rate, u in zip(rates(lr, len(grads)), adam_directions(grads, beta1, beta2, eps)):
        weight = weight - rate * (u + weight_decay * (u * weight >= 0) * weight)
        yield weight


def mars_gradients(
    grads: Sequence[Tensor], *, gamma: float, beta1: float, clip: bool, previous: Tensor | None
) -> Iterator[Tensor]:
    """Yuan et al. (2024), "MARS": c_t from the gradient of the step before; scaled to 1 if longer."""
    for g in grads:
        c = g if previous is None else g + gamma * beta1 / (1 - beta1) * (g - previous)
        yield c / c.norm().clamp(min=1) if clip else c
        previous = g


def mars_adamw(
    weight: Tensor, grads: Sequence[Tensor], *, lr: Rate = 3e-3, beta1: float = 0.95, beta2: float = 0.99,
    eps: float = 1e-8, weight_decay: float = 0.0, gamma: float = 0.025, clip: bool = True,
    previous: Tensor | None = None,
) -> Iterator[Tensor]:  # fmt: skip
    """Yuan et al. (2024), "MARS", algorithm 2 (MARS-AdamW), approximate; both moments are those of c_t.

    ``previous`` is the gradient before the first: None for no difference at the first step, which is what
    ``x_1 = x_0`` of the algorithm comes to; zeros in the authors' code. Their code leaves vectors to AdamW.
    """
    corrected = mars_gradients(grads, gamma=gamma, beta1=beta1, clip=clip, previous=previous)
    for rate, u in zip(rates(lr, len(grads)), adam_directions(corrected, beta1, beta2, eps)):
        weight = weight - rate * (u + weight_decay * weight)
        yield weight


def ademamix_alpha(t: int, alpha: float, warmup: int) -> float:
    """Pagliardini et al. (2024), scheduler of alpha: linear from 0 in ``warmup`` steps."""
    return min(t / warmup, 1.0) * alpha if warmup else alpha


def ademamix_beta3(t: int, beta1: float, beta3: float, warmup: int) -> float:
    """Pagliardini et al. (2024), scheduler of beta3: from beta1, with a half-life linear in t."""
    if t >= warmup:
        return beta3
    share = t / warmup
    return math.exp(1 / ((1 - share) / math.log(beta1) + share / math.log(beta3)))


def ademamix(
    weight: Tensor, grads: Sequence[Tensor], *, lr: Rate = 1e-3, beta1: float = 0.9, beta2: float = 0.999,
    beta3: float = 0.9999, alpha: float = 2.0, eps: float = 1e-8, weight_decay: float = 0.0, warmup: int = 0,
) -> Iterator[Tensor]:  # fmt: skip
    """Pagliardini et al. (2024), "The AdEMAMix Optimizer", algorithm 1; the slow momentum's bias stays.

    ``warmup`` is that of alpha and beta3 in steps, 0 for none; the publication takes the whole training. Its
    alpha is 2 in the authors' code and larger for language models.
    """
    m = slow = v = torch.zeros_like(weight)
    for t, (rate, g) in enumerate(zip(rates(lr, len(grads)), grads), 1):
        beta3_t, alpha_t = ademamix_beta3(t, beta1, beta3, warmup), ademamix_alpha(t, alpha, warmup)
        m = beta1 * m + (1 - beta1) * g
        slow = beta3_t * slow + (1 - beta3_t) * g
        v = beta2 * v + (1 - beta2) * g**2
        u = (m / (1 - beta1**t) + alpha_t * slow) / ((v / (1 - beta2**t)).sqrt() + eps)
        weight = weight - rate * (u + weight_decay * weight)
        yield weight


def laprop(
    weight: Tensor, grads: Sequence[Tensor], *, lr: Rate = 4e-4, beta1: float = 0.9, beta2: float = 0.999,
    eps: float = 1e-15,
) -> Iterator[Tensor]:  # fmt: skip
    """Ziyin et al. (2020), "LaProp", algorithm 1: the momentum of normalized gradients, corrected afterwards.

    The authors' code puts the learning rate into the momentum, which differs while the rate changes.
    """
    m = v = torch.zeros_like(weight)
    for t, (rate, g) in enumerate(zip(rates(lr, len(grads)), grads), 1):
        v = beta2 * v + (1 - beta2) * g**2
        m = beta1 * m + (1 - beta1) * g / ((v / (1 - beta2**t)).sqrt() + eps)
        weight = weight - rate * m / (1 - beta1**t)
        yield weight


def lamb(
    weight: Tensor, grads: Sequence[Tensor], *, lr: Rate = 1e-3, beta1: float = 0.9, beta2: float = 0.999,
    eps: float = 1e-6, weight_decay: float = 1e-2,
) -> Iterator[Tensor]:  # fmt: skip
    """You et al. (2019), "Large Batch Optimization", algorithm 2 (LAMB) with the identity for phi.

    The decay is part of what the trust ratio scales; the ratio is 1 if either norm is 0. The publication lets
    the rate grow with the root of the batch and warm up.
    """
    for rate, u in zip(rates(lr, len(grads)), adam_directions(grads, beta1, beta2, eps)):
        u = u + weight_decay * weight
        ratio = weight.norm() / u.norm() if weight.norm() > 0 and u.norm() > 0 else 1.0
        weight = weight - rate * ratio * u
        yield weight


def averaged(
    path: Sequence[Tensor], *, decay: float = 0.999, start: Tensor | None = None
) -> Iterator[Tensor]:
    """Kingma and Ba (2015), section 7.2: exponential average of the weights, its bias corrected.

    With ``start`` from there instead, uncorrected: the weights before the first step, or those after it in
    torch.
    """
    average: Tensor | float = 0.0 if start is None else start
    for t, weight in enumerate(path, 1):
        average = decay * average + (1 - decay) * weight
        yield average / (1 - decay**t) if start is None else average


def mean_of_the_last(path: Sequence[Tensor], *, fraction: float = 0.25) -> Tensor:
    """Rakhlin et al. (2012), suffix averaging: the mean of the weights after a last fraction of the steps.

    Izmailov et al. (2018), "Averaging Weights", average from three quarters of a training on, once an epoch.
    """
    count = max(1, round(fraction * len(path)))
    return torch.stack(list(path[-count:])).mean(0)
