"""Finds rules that cannot train anything before any training is spent on them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from evoopt.optim.evolved import apply_rule_
from evoopt.optim.rule import UpdateRule

_WEIGHTS, _STEPS, _SEED = 256, 30, 0
_GRADIENT_SCALES = (1e-4, 1e-2, 1.0)


def reject_reason(rule: UpdateRule) -> str | None:
    """Why a rule need not be trained, or None if it may be worth it.

    The rule follows noisy gradients with a constant mean for some steps, at three scales of gradient and
    without schedule and decay. If at no scale its path has a component against the mean gradient, it climbs
    or stands still. This is a necessary condition only and meant to be lenient: a rule that points downhill
    for one size of gradients passes. The answer depends on the rule alone.

    Args:
        rule: The rule.

    Returns:
        The reason in a few words, or None.
    """
    bare = replace(rule.canonical(), warmup_steps=0, cosine=False, weight_decay=0.0)
    if not bare.terms:
        return "the update is zero"
    paths = [_path(bare, mean, gradients) for mean, gradients in _probes()]
    if not all(bool(torch.isfinite(path).all()) for path, _ in paths):
        return "the update is not finite on ordinary gradients"
    if all(float(path @ mean) >= 0 for path, mean in paths):
        return "the update does not point downhill on any probe"
    return None


def _path(rule: UpdateRule, mean: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
    w = torch.zeros_like(mean)
    m = torch.zeros_like(mean) if rule.use_m else None
    v = torch.zeros_like(mean) if rule.use_v else None
    for step, gradient in enumerate(gradients, start=1):
        apply_rule_(w, gradient, rule, step=step, m=m, v=v, lr=rule.lr, weight_decay=0.0)
    return w, mean


def _probes() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(_SEED)
    probes = []
    for scale in _GRADIENT_SCALES:
        mean = torch.randn(_WEIGHTS, generator=generator, dtype=torch.float64) * scale
        noise = torch.randn(_STEPS, _WEIGHTS, generator=generator, dtype=torch.float64) * scale
        probes.append((mean, mean + noise))
    return probes
