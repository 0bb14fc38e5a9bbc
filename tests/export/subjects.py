"""The classes under test: every preset, and classes of random rules that together use every term."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from evoopt import optim
from evoopt.export.classes import from_rule
from evoopt.export.write_presets import PRESET_CLASSES
from evoopt.optim import TERMS, UpdateRule, generated, preset
from tests.rules import random_rule

PRESETS: dict[str, type[Any]] = {name: getattr(generated, PRESET_CLASSES[name]) for name in optim.PRESETS}


def descending(rule: UpdateRule) -> UpdateRule:
    """The rule with positive weights, so that its steps lead downhill."""
    return replace(rule, terms=tuple((name, abs(weight) + 0.1) for name, weight in rule.terms))


def _every_term() -> UpdateRule:
    terms = tuple((term.name, 0.2 + 0.1 * k) for k, term in enumerate(TERMS))
    return UpdateRule(terms, weight_decay=0.01, beta1=0.8, nesterov_beta=0.7, clip_value=0.5)


RULES: dict[str, UpdateRule] = {
    "every_term": _every_term(),
    "scheduled": replace(_every_term(), bias_correction=False, warmup_steps=7, cosine=True),
    # A large eps, because m / (|g| + eps) explodes where a gradient crosses zero.
    "warmup": replace(_every_term(), use_v=False, eps=0.1, warmup_steps=3),
    "cosine": replace(_every_term(), use_m=False, cosine=True, clip_value=None),
    **{f"random{seed}": descending(random_rule(seed)) for seed in (1, 2)},
}
RANDOM: dict[str, type[Any]] = {name: from_rule(rule, f"Rule{name.title()}") for name, rule in RULES.items()}
CLASSES: dict[str, type[Any]] = {**PRESETS, **RANDOM}
"""Those of rules without stages."""

STAGED_RULES: dict[str, UpdateRule] = {
    # All stages that matrices are not needed for.
    "every_vector": UpdateRule(
        (("adam", 1.0), ("slow_adam", 0.5), ("power_grad", 0.2), ("lion", 0.1)), weight_decay=0.01, lr=1e-2,
        gradient_difference=0.1, clip_norm=1.0, l2=0.02, normalize_first=True, slow_beta=0.9, mask="cautious",
        scale="trust", cautious_decay=True, warmup_steps=3,
    ),
    "every_matrix": replace(
        preset("normuon"), terms=(("adam", 1.0), ("slow_momentum", 0.3)), use_v=True, slow_beta=0.99,
        second_moment="factored", warmup_fraction=0.2, decay_shape="cosine", decay_start=0.5, readout="ema",
        others_lr=0.5, lr=1e-2,
    ),
}  # fmt: skip
STAGED: dict[str, type[Any]] = {
    "muon": generated.Muon,
    **{name: from_rule(rule, name.title().replace("_", "")) for name, rule in STAGED_RULES.items()},
}
"""Those of rules with stages."""

IMPLEMENTATIONS = {"loop": {"foreach": False}, "foreach": {"foreach": True}}
EVERY: dict[str, Any] = {
    f"{implementation}-{name}": (cls, options)
    for implementation, options in IMPLEMENTATIONS.items()
    for name, cls in (CLASSES | STAGED).items()
}
"""Every class with each of its implementations."""

every_class = pytest.mark.parametrize("cls", (CLASSES | STAGED).values(), ids=CLASSES | STAGED)
every_implementation = pytest.mark.parametrize(("cls", "implementation"), EVERY.values(), ids=EVERY)


def scheduled(cls: type[Any]) -> bool:
    return "total_steps" in inspect.signature(cls).parameters


def make(cls: type[Any], params: Iterable[Any], **options: Any) -> Optimizer:
    """An optimizer, with a training length (``total_steps``, 100 by default) if the class asks for one."""
    total_steps = options.pop("total_steps", 100)
    if scheduled(cls) and options.get("schedule", True):
        options["total_steps"] = total_steps
    optimizer: Optimizer = cls(params, **options)
    return optimizer


def settings(cls: type[Any]) -> list[dict[str, Any]]:
    """Constructor arguments to try a class with, on a CPU."""
    names = inspect.signature(cls).parameters
    found: list[dict[str, Any]] = [
        {},
        {"lr": 2e-3},
        {"weight_decay": 0.1},
        {"maximize": True},
        {"weight_decay": 0.1, "maximize": True},
    ]
    if "eps" in names:
        found.append({"eps": 1e-6})
    if "schedule" in names:
        found.append({"schedule": False})
    return found


def weight_and_bias(dtype: torch.dtype = torch.float32, seed: int = 0) -> list[Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Parameter(torch.randn(10, 5, generator=generator, dtype=dtype)),
        Parameter(torch.randn(10, generator=generator, dtype=dtype)),
    ]


def regression(params: list[Any]) -> Callable[[], Any]:
    """Closure of a convex loss in a weight and a bias; it fills the gradients."""
    weight, bias = params
    inputs = torch.linspace(-1, 2, weight.shape[1], dtype=weight.dtype)

    def closure() -> Tensor:
        for p in params:
            p.grad = None
        loss = (weight.mv(inputs) + bias).square().sum()
        loss.backward()
        return loss.detach()

    return closure
