"""Which of a rule's decays its optimizers take as ``betas``."""

from __future__ import annotations

import functools

from evoopt.optim.rule import UpdateRule


@functools.lru_cache(maxsize=256)  # an optimizer asks at every step
def beta_names(rule: UpdateRule) -> tuple[str | None, str | None]:
    """Which constants of a rule its optimizers take as ``betas``, so that schedulers can cycle them.

    The decays of the first and of the second moment, None for one that the rule does not read; for a rule
    like Lion, without a second moment, the pair of its publication.
    """
    rule = rule.canonical()
    if rule.uses("m_prev") and not rule.use_v:
        return "beta3", "beta1"
    return "beta1" if rule.reads_beta1 else None, "beta2" if rule.reads_beta2 else None


def default_betas(rule: UpdateRule) -> tuple[float, float]:
    """The values of ``betas`` that a rule says; Adam's where it says none."""
    first, second = beta_names(rule)
    return getattr(rule, first or "", UpdateRule.beta1), getattr(rule, second or "", UpdateRule.beta2)
