"""Random rules for tests, covering every term, flag and constant."""

from __future__ import annotations

import numpy as np

from evoopt.optim import TERMS, UpdateRule


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
        clip_value=float(rng.uniform(0.1, 2)) if rng.random() < 0.5 else None,
        warmup_steps=int(rng.integers(0, 30)),
        cosine=bool(rng.random() < 0.5),
        nesterov_beta=0.9 if rng.random() < 0.3 else None,
    )
