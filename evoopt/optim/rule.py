"""An update rule: the phenotype of an optimizer genome, with its canonical form, hash and JSON."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from evoopt.optim.canonical import canonical
from evoopt.optim.json_checks import check_fields as check_fields
from evoopt.optim.json_checks import check_header as check_header
from evoopt.optim.json_checks import is_number as is_number
from evoopt.optim.json_checks import require
from evoopt.optim.pipeline import (
    DECAY,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    SWITCHES,
    Pipeline,
    Range,
    check_ranges,
)
from evoopt.optim.schedule import schedule_factor
from evoopt.optim.stages.annealing import fraction_factor
from evoopt.optim.terms import MORE_TERMS, TERM_BY_NAME, term
from evoopt.optim.written import written

RULE_VERSION = 2

SCHEDULE_IN_FRACTIONS = ("warmup_fraction", "decay_shape", "decay_start", "decay_floor", "decay_power")
SCHEDULE = ("warmup_steps", "cosine", *SCHEDULE_IN_FRACTIONS)
"""Fields of the schedule of a learning rate."""

RULE_RANGES: dict[str, Range] = {
    "lr": POSITIVE,
    "eps": POSITIVE,
    "beta1": DECAY,
    "beta2": DECAY,
    "beta3": FRACTION,
    "weight_decay": NOT_NEGATIVE,
    "clip_value": (POSITIVE[0], "be positive or absent"),
    "warmup_steps": (lambda x: x >= 0, "be >= 0"),
    "nesterov_beta": (FRACTION[0], "lie in [0, 1] or be absent"),
}
"""What a number of a rule may be, besides those of its stages."""

Terms = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class UpdateRule(Pipeline):
    """A weighted sum of terms with its constants, flags and schedule, inside the stages of a `Pipeline`.

    One step at learning rate ``lr_t`` does, in this order (Marfinetz 2025, eq. 1 and published notebook):
    clip the gradient, decay the weights by ``1 - lr_t * weight_decay``, update the moments, correct their
    bias, and subtract ``lr_t * sum_k weight_k * term_k``.

    Attributes:
        terms: Pairs of term name and weight; may repeat a term; empty only for the rule that does nothing.
        lr: Base learning rate, > 0.
        beta1: Decay of the first moment, in [0, 1).
        beta2: Decay of the second moment, in [0, 1).
        beta3: Weight of the previous first moment in the Lion term, in [0, 1].
        eps: Numerical constant, > 0.
        weight_decay: Decoupled weight decay, >= 0.
        use_m: Keep a first moment; otherwise ``m := g``.
        use_v: Keep a second moment; otherwise ``v := g**2``.
        bias_correction: Divide moments by ``1 - beta**t``.
        clip_value: Clamp each gradient element to ``[-clip_value, clip_value]``; None for no clipping.
        warmup_steps: Steps of linear warmup, 0 for none.
        cosine: Decay the learning rate along half a cosine over the whole training.
        nesterov_beta: Weight in the Nesterov term; None means ``beta1`` as in the paper (the published
            notebook has the constant 0.9).

    Raises:
        EvooptError: A value outside its range, an unknown term or stage, or schedules of both kinds.
    """

    terms: Terms
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    beta3: float = 0.9
    eps: float = 1e-8
    weight_decay: float = 0.0
    use_m: bool = True
    use_v: bool = True
    bias_correction: bool = True
    clip_value: float | None = None
    warmup_steps: int = 0
    cosine: bool = False
    nesterov_beta: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        pairs = tuple((term(name).name, float(weight)) for name, weight in self.terms)
        object.__setattr__(self, "terms", pairs)
        # Numbers and switches of other libraries would not survive JSON.
        for name, value in [one for one in vars(self).items() if isinstance(one[1], np.generic)]:
            object.__setattr__(self, name, value.item())
        require(all(math.isfinite(w) for _, w in pairs), "term weights must be finite")
        check_ranges(self, RULE_RANGES)
        require(
            not (self.has_fractions and (self.warmup_steps or self.cosine)),
            "a schedule is either in steps (warmup_steps, cosine) or in fractions of the training "
            "(warmup_fraction, decay_shape), not both",
        )

    @property
    def needs_total_steps(self) -> bool:
        """Whether the schedule depends on the length of the training."""
        return self.cosine or self.has_fractions

    @property
    def has_schedule(self) -> bool:
        """Whether the learning rate changes in a training."""
        return self.warmup_steps > 0 or self.needs_total_steps

    @property
    def unscheduled(self) -> UpdateRule:
        """The same at a constant learning rate."""
        return replace(self, **{name: getattr(UpdateRule, name) for name in SCHEDULE})

    def scheduled_like(self, other: UpdateRule) -> UpdateRule:
        """The same under another's schedule."""
        return replace(self, **{name: getattr(other, name) for name in SCHEDULE})

    def factor(self, step: int, total_steps: int | None) -> float:
        """Factor of the schedule on the learning rate at a 0-based step of a training of some length."""
        if not self.has_fractions:
            return schedule_factor(step, total_steps, self.warmup_steps, self.cosine)
        if total_steps is None:
            raise ValueError("a schedule in fractions needs total_steps, the length of the training in steps")
        fractions = {name: getattr(self, name) for name in SCHEDULE_IN_FRACTIONS}
        return fraction_factor(step, total_steps, **fractions)

    def uses(self, quantity: str) -> bool:
        """Whether any term reads ``quantity``, one of those in `Term.uses`."""
        return any(quantity in TERM_BY_NAME[name].uses for name, _ in self.terms)

    def canonical(self) -> UpdateRule:
        """The simplest rule that makes the same steps; equal rules have equal canonical forms.

        Equal terms are merged by summing their weights, zero terms dropped, the rest ordered as in `TERMS`;
        state that no term reads is switched off, stages that have nothing to do return to their identity and
        constants that no longer matter to their defaults.
        """
        return canonical(self)

    @cached_property
    def others_rule(self) -> UpdateRule:
        """What moves parameters that are no matrices; no stage of it needs one."""
        if not self.tells_matrices_apart:
            return self
        lr = self.lr * self.others_lr
        if self.others == "adam":
            kept: dict[str, Any] = {name: getattr(self, name) for name in ("weight_decay", "l2", *_AROUND)}
            kept |= {"beta1": self.others_beta1, "beta2": self.others_beta2, "eps": self.others_eps}
            return UpdateRule((("adam", 1.0),), lr=lr, **kept)
        scale = "none" if self.scale == "match_rms" else self.scale
        plain = replace(self, lr=lr, others_lr=1.0, second_moment="full", shape="none", scale=scale)
        return replace(plain, shape_output=False)

    @property
    def reads_beta1(self) -> bool:
        """Whether the decay of the first moment matters, for all that canonical form can tell."""
        return self.use_m or self.gradient_difference > 0

    @property
    def reads_beta2(self) -> bool:
        """Whether the decay of the second moment matters, likewise."""
        return bool(self.averaged_by_beta2)

    @property
    def averaged_by_beta2(self) -> str:
        """What it keeps the moving average of at ``beta2``, in words."""
        gradient = ["the squared gradient"] if self.use_v else []
        return " and of ".join((*gradient, *(stage.beta2 for stage in self.active if stage.beta2)))

    @property
    def stages(self) -> tuple[str, ...]:
        """What the rule says beyond a weighted sum of `TERMS`, e.g. ``("shape=orthogonal", "others=adam")``.

        Empty for a rule that tables of coefficients, genomes and exported classes can hold.
        """
        rule = self.canonical()
        more = {term.name for term in MORE_TERMS}
        asked = ((name, getattr(rule, name)) for name in SWITCHES)
        return (
            *(name for name, _ in rule.terms if name in more),
            *(f"{name}={value}" for name, value in asked if value != getattr(UpdateRule, name)),
        )

    @cached_property
    def key(self) -> str:
        """Hash of the canonical form, 16 hex digits; equal rules have equal keys."""
        text = json.dumps(self.canonical().to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Versioned JSON object, the oldest version that can say it; `from_json` reads it back exactly."""
        plain = all(getattr(self, name) == getattr(UpdateRule, name) for name in _STAGE_FIELDS)
        return {
            "kind": "update_rule",
            "version": 1 if plain else RULE_VERSION,
            **{name: getattr(self, name) for name in _FIELDS},
            **({} if plain else self.to_fields()),
            "terms": [list(pair) for pair in self.terms],
        }

    @classmethod
    def from_json(cls, data: Any) -> UpdateRule:
        """Read a rule written by `to_json`.

        Raises:
            EvooptError: Not a rule, another version, or bad values.
        """
        body = check_header(data, "update_rule", 1, RULE_VERSION)
        known = _FIELDS if data["version"] == 1 else (*_FIELDS, *_STAGE_FIELDS)
        check_fields("update rule", body, (f for f in fields(cls) if f.name in known), skip=("terms",))
        require(
            isinstance(body.get("terms"), list), "update rule needs terms, a list of [name, weight] pairs"
        )
        for pair in body["terms"]:
            shaped = isinstance(pair, list) and len(pair) == 2
            require(
                shaped and isinstance(pair[0], str) and is_number(pair[1]),
                f"a term is written as [name, weight], not {pair!r}",
            )
        return cls(**{**body, "terms": tuple((n, w) for n, w in body["terms"])})

    def formula(self, digits: int = 4) -> str:
        """The update in plain text, e.g. ``w -= lr * (0.73*sign(g) + 3.6*m/(sqrt(v)+eps))``.

        A rule with stages is a list of assignments, of which the last moves the weights.
        """
        return written(self, digits)


_STAGE_FIELDS = tuple(field.name for field in fields(Pipeline))
_FIELDS = tuple(field.name for field in fields(UpdateRule) if field.name not in _STAGE_FIELDS)
_AROUND = (*SCHEDULE, "readout", "ema_decay", "mean_fraction")
"""Fields around a step: schedule and readout, which all parameters share."""
