"""The classes under test: every preset, and classes of random rules that together use every term."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from evoopt.export.classes import from_rule
from evoopt.export.write_presets import PRESET_CLASSES
from evoopt.optim import TERMS, UpdateRule, generated
from tests.rules import random_rule

PRESETS: dict[str, type[Any]] = {name: getattr(generated, cls) for name, cls in PRESET_CLASSES.items()}


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

IMPLEMENTATIONS = {"loop": {"foreach": False}, "foreach": {"foreach": True}}


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
