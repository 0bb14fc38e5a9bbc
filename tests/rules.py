"""Random rules for tests, covering every term, flag and constant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from evoopt.optim import MORE_TERMS, TERMS, UpdateRule
from evoopt.optim.pipeline import CHOICES


def random_rule(seed: int) -> UpdateRule:
    """Draw a rule whose constants are large enough for each of them to matter within 50 steps."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 5))
    names = [TERMS[int(k)].name for k in rng.integers(len(TERMS), size=count)]
    return UpdateRule(
        tuple((name, float(rng.normal())) for name in names),
        lr=float(10 ** rng.uniform(-4, -2)),
        beta1=float(rng.choice([0.0, 0.5, 0.9, 0.99])),
        beta2=float(rng.choice([0.0, 0.9, 0.999])),
        beta3=float(rng.uniform(0, 1)),
        eps=float(10 ** rng.uniform(-9, -3)),
        weight_decay=float(rng.choice([0.0, 0.1])),
        use_m=bool(rng.random() < 0.7),
        use_v=bool(rng.random() < 0.7),
        bias_correction=bool(rng.random() < 0.5),
        clip_value=float(10 ** rng.uniform(-2.3, 0.3)) if rng.random() < 0.5 else None,
        warmup_steps=int(rng.integers(0, 30)),
        cosine=bool(rng.random() < 0.5),
        nesterov_beta=0.9 if rng.random() < 0.3 else None,
    )


def random_staged_rule(seed: int) -> UpdateRule:
    """Draw a rule with stages, each of them about every other time, for trainings of 50 steps."""
    rng = np.random.default_rng(seed)

    def sometimes(value: float) -> float | None:
        return value if rng.random() < 0.5 else None

    chosen = {name: str(rng.choice(known)) for name, known in CHOICES.items()}
    rule = random_rule(seed)
    more = [term.name for term in MORE_TERMS]
    terms = [(str(rng.choice(more)), float(rng.normal())) for _ in range(2)]
    return replace(
        rule,
        terms=(*rule.terms, *terms[: int(rng.integers(3))]),
        warmup_steps=0,
        cosine=False,
        **chosen,
        clip_norm=sometimes(float(rng.uniform(0.5, 3))),
        gradient_difference=sometimes(float(rng.uniform(0.01, 0.5))) or 0.0,
        normalize_first=bool(rng.random() < 0.3),
        slow_beta=sometimes(0.99),
        power=float(rng.uniform(0.2, 2)),
        cautious_decay=bool(rng.random() < 0.5),
        iterations=int(rng.integers(1, 6)),
        others_lr=float(rng.choice([0.3, 1.0])),
        warmup_fraction=float(rng.choice([0.0, 0.2])),
        decay_start=float(rng.choice([0.0, 0.5])),
        decay_floor=float(rng.choice([0.0, 0.1])),
        decay_power=2.0,
        ema_decay=0.9,
        l2=sometimes(0.05) or 0.0,
        shape_output=bool(rng.random() < 0.5),
        mean_fraction=float(rng.choice([0.4, 1.0])),
    )


def random_rules(count: int, seed: int, draw: Callable[[int], UpdateRule] = random_rule) -> list[UpdateRule]:
    """Draw several rules for engines that round differently."""
    rules = [draw(1000 * seed + k) for k in range(count)]
    # Without a second moment a term is m/(|g|+eps), which multiplies the rounding of g by up to 1/eps.
    return [rule if rule.use_v else replace(rule, eps=rule.eps ** (1 / 3)) for rule in rules]
