"""The update rule in plain Python floats, one weight at a time.

This is the definition that every faster form is tested against; it shares no code with them on purpose. For a
term that is not defined here it computes what the formula says that people read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from evoopt.optim import UpdateRule
from evoopt.optim.terms import term


def train_scalar(
    rule: UpdateRule, weight: float, gradients: Sequence[float], total_steps: int | None = None
) -> list[float]:
    """Apply a rule to one weight along a given sequence of gradients.

    Args:
        rule: The rule.
        weight: Initial value of the weight.
        gradients: Gradient at each step.
        total_steps: Length of the schedule; defaults to ``len(gradients)``.

    Returns:
        The weight after each step, one value per gradient.
    """
    w, m, v, m2 = weight, 0.0, 0.0, 0.0
    steps = len(gradients) if total_steps is None else total_steps
    path = []
    for s, g in enumerate(gradients):
        t = s + 1
        lr = rule.lr
        if s < rule.warmup_steps:
            lr *= (s + 1) / rule.warmup_steps
        if rule.cosine:
            lr *= 0.5 * (1 + math.cos(math.pi * min(s, steps) / steps))
        if rule.clip_value is not None:
            g = max(-rule.clip_value, min(rule.clip_value, g))
        w *= 1 - lr * rule.weight_decay
        m_prev = m if rule.use_m else g
        m = rule.beta1 * m + (1 - rule.beta1) * g if rule.use_m else g
        v = rule.beta2 * v + (1 - rule.beta2) * g * g if rule.use_v else g * g
        m2 = rule.slow_beta * m2 + (1 - rule.slow_beta) * g if rule.slow_beta else g
        m_hat = m / (1 - rule.beta1**t) if rule.bias_correction and rule.use_m else m
        v_hat = v / (1 - rule.beta2**t) if rule.bias_correction and rule.use_v else v
        nesterov = rule.beta1 if rule.nesterov_beta is None else rule.nesterov_beta
        numbers = {
            "g": g, "m": m_hat, "v": v_hat, "m_prev": m_prev,
            "eps": rule.eps, "beta1": nesterov, "beta3": rule.beta3,
        }  # fmt: skip
        values = published(**numbers)
        numbers |= {"m2": m2, "power": rule.power}
        w -= lr * sum(
            weight_k * (values[name] if name in values else written(name, numbers))
            for name, weight_k in rule.terms
        )
        path.append(w)
    return path


def published(
    g: float, m: float, v: float, m_prev: float, eps: float, beta1: float, beta3: float
) -> dict[str, float]:
    """The terms of the publications by name."""
    return {
        "grad": g,
        "momentum": m,
        "rms_norm": g / (math.sqrt(v) + eps),
        "adam": m / (math.sqrt(v) + eps),
        "sign_grad": sign(g),
        "unit_grad": g / (abs(g) + eps),
        "nesterov": m + beta1 * (g - m),
        "sign_momentum": sign(m),
        "lion": sign(m_prev * beta3 + g * (1 - beta3)),
    }


def written(name: str, numbers: dict[str, float]) -> float:
    """What the formula of a term comes to."""
    formula = re.sub(r"\|([^|]*)\|", r"abs(\1)", term(name).formula)
    return float(eval(formula, {"sign": sign, "sqrt": math.sqrt}, numbers))


def sign(x: float) -> float:
    return float((x > 0) - (x < 0))
