"""Finds rules that cannot train anything before any training is spent on them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from evoopt.optim.rule import UpdateRule
from evoopt.optim.step import apply_rule_, keeps

_SHAPE = (16, 16)  # of a matrix, for stages that need one
_WEIGHTS = 256
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
    paths = [_path(bare, mean, gradients) for mean, gradients in _probes()]
    if not all(bool(torch.isfinite(path).all()) for path, _ in paths):
        return "the update is not finite on ordinary gradients"
    if all(float(path @ mean) >= 0 for path, mean in paths):
        return "the update does not point downhill on any probe"
    return None


def _path(rule: UpdateRule, mean: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
    w = mean.new_zeros(_SHAPE)
    state = {kept.name: kept.zeros(w) for kept in keeps(rule)}
    m, v = state.get("exp_avg"), state.get("exp_avg_sq")
    for step, gradient in enumerate(gradients, start=1):
        g = gradient.view(_SHAPE)
        apply_rule_(w, g, rule, step=step, m=m, v=v, lr=rule.lr, weight_decay=0.0, state=state)
    return w.flatten(), mean


def _probes() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(_SEED)
    probes = []
    for scale in _GRADIENT_SCALES:
        mean = torch.randn(_WEIGHTS, generator=generator, dtype=torch.float64) * scale
        noise = torch.randn(_STEPS, _WEIGHTS, generator=generator, dtype=torch.float64) * scale
        probes.append((mean, mean + noise))
    return probes
