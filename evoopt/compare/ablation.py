"""Which part of a rule makes the difference? The rule with one part missing, everything else tuned anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from evoopt.compare.contender import CONSTANT, OWN, Contender, RuleSubject
from evoopt.compare.space import TuningSpace
from evoopt.errors import EvooptError
from evoopt.optim.presets import PRESETS
from evoopt.optim.rule import UpdateRule


def ablations(contender: Contender) -> list[Contender]:
    """Contenders that differ from a rule in one part each, and Adam with the rule's schedule.

    Each is tuned like any contender, its learning rate first: what is left out must not also cost the rule
    the learning rate that suits it. Left out in turn are every term, the schedule, the weight decay and the
    clipping, as far as the rule has them.

    Raises:
        EvooptError: The contender is no rule.
    """
    if not isinstance(contender.subject, RuleSubject):
        raise EvooptError(f"only rules can be taken apart, and {contender.name} is a class")
    name, rule, ranges = contender.name, contender.subject.rule.canonical(), contender.space.ranges
    variants = []
    if len(rule.terms) > 1:
        for term, _ in rule.terms:
            kept = replace(rule, terms=tuple(pair for pair in rule.terms if pair[0] != term))
            variants.append(_variant(contender, f"{name} without {term}", kept, ranges))
    if rule.cosine or rule.warmup_steps:
        bare = replace(rule, cosine=False, warmup_steps=0)
        constant = _variant(contender, f"{name} without schedule", bare, ranges)
        variants.append(replace(constant, schedules=(CONSTANT,)))
        variants.append(adam_with_schedule_of(contender))
    if rule.weight_decay:
        kept_ranges = {key: value for key, value in ranges.items() if key != "weight_decay"}
        variants.append(
            _variant(contender, f"{name} without decay", replace(rule, weight_decay=0.0), kept_ranges)
        )
    if rule.clip_value is not None:
        variants.append(
            _variant(contender, f"{name} without clipping", replace(rule, clip_value=None), ranges)
        )
    return variants


def adam_with_schedule_of(contender: Contender) -> Contender:
    """Adam under a rule's own schedule, to tell the schedule's merit from the rule's.

    Raises:
        EvooptError: The contender is no rule.
    """
    if not isinstance(contender.subject, RuleSubject):
        raise EvooptError(f"{contender.name} is a class, so that its schedule is not known")
    rule = contender.subject.rule
    adam = replace(PRESETS["adam"], warmup_steps=rule.warmup_steps, cosine=rule.cosine)
    space = TuningSpace(adam.lr, {"beta1": (0.8, 0.98), "beta2": (0.9, 0.9995)})
    return Contender(f"adam with schedule of {contender.name}", RuleSubject(adam), space, (OWN,))


def _variant(
    contender: Contender, name: str, rule: UpdateRule, ranges: Mapping[str, tuple[float, float]]
) -> Contender:
    # A decay of a moment that no term reads any more would waste trials.
    canonical = rule.canonical()
    used = {"beta1": canonical.use_m, "beta2": canonical.use_v, "beta3": canonical.uses("m_prev")}
    kept = {key: value for key, value in ranges.items() if used.get(key, True)}
    return replace(
        contender, name=name, subject=RuleSubject(canonical), space=TuningSpace(canonical.lr, kept), note=""
    )
