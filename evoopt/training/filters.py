"""Finds rules that cannot train anything before any training is spent on them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from evoopt.optim.rule import UpdateRule
from evoopt.training.flat import FlatLayout
from evoopt.training.staged_group import StagedGroup

_SHAPE = torch.Size((16, 16))  # of a matrix, for stages that need one
_STEPS, _SEED = 30, 0
_GRADIENT_SCALES = (1e-4, 1e-2, 1.0)


def reject_reason(rule: UpdateRule) -> str | None:
    """Why a rule need not be trained, or None if it may be worth it.

    The rule follows noisy gradients with a constant mean for some steps, at three scales of gradient and
    without schedule and decay. If at no scale its path has a component against the mean gradient, it climbs
    or stands still. This is a necessary condition only and meant to be lenient: a rule that points downhill
    for one size of gradients passes. Of a rule that moves matrices in another way than the rest, both are
    tried. The answer depends on the rule alone.

    Args:
        rule: The rule.

    Returns:
        The reason in a few words, or None.
    """
    canonical = rule.canonical()
    bare = replace(canonical.unscheduled, weight_decay=0.0)
    parts = [bare, bare.others_rule] if bare.tells_matrices_apart else [bare]
    return next((reason for reason in map(_reason, parts) if reason), None)


def _reason(bare: UpdateRule) -> str | None:
    if not bare.terms:
        return "the update is zero"
    mean, gradients = _probes()
    path = torch.zeros_like(mean)
    members = dict.fromkeys(range(len(path)), bare)
    group = StagedGroup(members, FlatLayout({"w": _SHAPE}), ("w",), path[:0], _STEPS, None, kernel=True)
    for step, gradient in enumerate(gradients):
        group.step(path, gradient.clone(), step, 0, len(path))
    if not bool(torch.isfinite(path).all()):
        return "the update is not finite on ordinary gradients"
    if bool(((path * mean).sum(dim=1) >= 0).all()):
        return "the update does not point downhill on any probe"
    return None


@cache
def _probes() -> tuple[Tensor, Tensor]:
    """Mean gradients ``[scales, weights]``, and the gradients of each step, ``[steps, scales, weights]``."""
    generator = torch.Generator().manual_seed(_SEED)
    means, gradients = [], []
    for scale in _GRADIENT_SCALES:
        means.append(torch.randn(_SHAPE.numel(), generator=generator, dtype=torch.float64) * scale)
        noise = torch.randn(_STEPS, _SHAPE.numel(), generator=generator, dtype=torch.float64) * scale
        gradients.append(means[-1] + noise)
    return torch.stack(means), torch.stack(gradients, dim=1)
