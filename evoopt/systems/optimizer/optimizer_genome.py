"""The optimizer genome: what evolution varies, and how it decodes to an update rule."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from evoopt.errors import EvooptError
from evoopt.evolution.individual import RankedIndividual
from evoopt.optim.json_checks import require
from evoopt.optim.pipeline import Pipeline, check_ranges
from evoopt.optim.rule import RULE_RANGES, UpdateRule, check_fields, check_header, is_number
from evoopt.optim.terms import term

GENOME_VERSION = 2

FLAGS: tuple[str, ...] = (
    "use_m",
    "use_v",
    "use_bias_correction",
    "use_gradient_clipping",
    "use_warmup",
    "use_cosine_decay",
    "use_weight_decay",
)
"""Genes that are switches. Marfinetz (2025) has the first six; there, weight decay is always on."""

CONSTANTS: tuple[str, ...] = (
    "lr_log10",
    "beta1",
    "beta2",
    "beta3",
    "eps_log10",
    "wd_log10",
    "clip_value",
    "warmup_steps",
)
"""Genes that are numbers, besides the weights of the terms."""


@dataclass(frozen=True)
class OptimizerGenome:
    """Genes of one optimizer (Marfinetz 2025, section 3).

    A constant whose switch is off stays in the genome, silent, and may be switched on by a later mutation.

    Attributes:
        terms: Names of the terms, at least one; may repeat.
        weights: Weight of each term.
        lr_log10: log10 of the base learning rate.
        beta1: Decay of the first moment, in [0, 1).
        beta2: Decay of the second moment, in [0, 1).
        beta3: Weight of the previous first moment in the Lion term, in [0, 1].
        eps_log10: log10 of the numerical constant.
        wd_log10: log10 of the decoupled weight decay.
        use_m: Keep a first moment.
        use_v: Keep a second moment.
        use_bias_correction: Correct the moments' bias.
        use_gradient_clipping: Clamp gradient elements to ``clip_value``.
        clip_value: Bound of each gradient element, > 0.
        use_warmup: Warm the learning rate up linearly.
        warmup_steps: Steps of warmup, >= 1.
        use_cosine_decay: Decay the learning rate along half a cosine.
        use_weight_decay: Decay weights; off means exactly 0.
        nesterov_beta: Constant of the Nesterov term, None for ``beta1``; not a gene, it is never varied.
        stages: What is around the sum of terms. With a schedule in fractions of the training there,
            ``use_warmup`` and ``use_cosine_decay`` are silent.
        steps: Length of a training in which genomes that make equal steps share a key; None, as in a file
            without it, where only equal form does. Not a gene, it is never varied.

    Raises:
        EvooptError: A value outside its range or an unknown term.
    """

    terms: tuple[str, ...]
    weights: tuple[float, ...]
    lr_log10: float = -3.0
    beta1: float = 0.9
    beta2: float = 0.999
    beta3: float = 0.9
    eps_log10: float = -8.0
    wd_log10: float = -4.0
    use_m: bool = True
    use_v: bool = True
    use_bias_correction: bool = True
    use_gradient_clipping: bool = False
    clip_value: float = 1.0
    use_warmup: bool = False
    warmup_steps: int = 100
    use_cosine_decay: bool = False
    use_weight_decay: bool = True
    nesterov_beta: float | None = None
    stages: Pipeline = field(default_factory=Pipeline)
    steps: int | None = None

    def __post_init__(self) -> None:
        if not self.terms or len(self.terms) != len(self.weights):
            raise EvooptError(
                f"a genome needs at least one term and one weight per term, "
                f"not {len(self.terms)} terms and {len(self.weights)} weights"
            )
        object.__setattr__(self, "terms", tuple(term(name).name for name in self.terms))
        object.__setattr__(self, "weights", tuple(float(weight) for weight in self.weights))
        for name in ("lr_log10", "eps_log10", "wd_log10"):
            if not -30 <= getattr(self, name) <= 10:
                raise EvooptError(f"{name} must lie in [-30, 10], not {getattr(self, name)!r}")
        if not (math.isfinite(self.clip_value) and self.clip_value > 0):
            raise EvooptError(f"clip_value must be positive, not {self.clip_value!r}")
        if self.warmup_steps < 1:
            raise EvooptError(f"warmup_steps must be at least 1, not {self.warmup_steps!r}")
        if self.steps is not None and self.steps < 1:
            raise EvooptError(f"steps must be at least 1 or absent, not {self.steps!r}")
        require(all(map(math.isfinite, self.weights)), "term weights must be finite")
        check_ranges(self, _RANGES)

    def rule(self) -> UpdateRule:
        """Decode the genome to the update rule it stands for."""
        in_steps = not self.stages.has_fractions
        return UpdateRule(
            **_values(self.stages),
            terms=tuple(zip(self.terms, self.weights, strict=True)),
            lr=10**self.lr_log10,
            beta1=self.beta1,
            beta2=self.beta2,
            beta3=self.beta3,
            eps=10**self.eps_log10,
            weight_decay=10**self.wd_log10 if self.use_weight_decay else 0.0,
            use_m=self.use_m,
            use_v=self.use_v,
            bias_correction=self.use_bias_correction,
            clip_value=self.clip_value if self.use_gradient_clipping else None,
            warmup_steps=self.warmup_steps if self.use_warmup and in_steps else 0,
            cosine=self.use_cosine_decay and in_steps,
            nesterov_beta=self.nesterov_beta,
        )

    @cached_property
    def key(self) -> str:
        """Hash of what counts as one rule, see `steps`: genomes that share it are scored once."""
        if self.steps is None:
            return self.rule().key
        from evoopt.optim.equal_steps import steps_key  # which takes steps, by torch

        return steps_key(self.rule(), self.steps)

    @classmethod
    def from_rule(cls, rule: UpdateRule) -> OptimizerGenome:
        """Encode a rule as a genome, e.g. to start a search from a preset."""
        return cls(
            terms=tuple(name for name, _ in rule.terms),
            weights=tuple(weight for _, weight in rule.terms),
            lr_log10=math.log10(rule.lr),
            beta1=rule.beta1,
            beta2=rule.beta2,
            beta3=rule.beta3,
            eps_log10=math.log10(rule.eps),
            wd_log10=math.log10(rule.weight_decay) if rule.weight_decay else -4.0,
            use_m=rule.use_m,
            use_v=rule.use_v,
            use_bias_correction=rule.bias_correction,
            use_gradient_clipping=rule.clip_value is not None,
            clip_value=1.0 if rule.clip_value is None else rule.clip_value,
            use_warmup=rule.warmup_steps > 0,
            warmup_steps=max(rule.warmup_steps, 1) if rule.warmup_steps else 100,
            use_cosine_decay=rule.cosine,
            use_weight_decay=rule.weight_decay > 0,
            nesterov_beta=rule.nesterov_beta,
            stages=Pipeline(**_values(rule)),
        )

    def to_json(self) -> dict[str, Any]:
        """Versioned JSON object; `from_json` reads it back exactly."""
        data = {item.name: getattr(self, item.name) for item in fields(self)}
        data["terms"], data["weights"] = list(self.terms), list(self.weights)
        if self.steps is None:
            del data["steps"]
        # As it was before there were stages, where there are none.
        version = 1 if self.stages == Pipeline() else GENOME_VERSION
        stages = data.pop("stages").to_fields()
        return {"kind": "optimizer_genome", "version": version, **data, **(stages if version > 1 else {})}

    @classmethod
    def from_json(cls, data: Any) -> OptimizerGenome:
        """Read a genome written by `to_json`.

        Raises:
            EvooptError: Not a genome, another version, or bad values.
        """
        body = check_header(data, "optimizer_genome", 1, GENOME_VERSION)
        stages = {} if data["version"] == 1 else {n: body.pop(n) for n in _STAGES if n in body}
        check_fields("optimizer genome", stages, fields(Pipeline))
        own = [item for item in fields(cls) if item.name != "stages"]
        check_fields("optimizer genome", body, own, skip=("terms", "weights"))
        for name, good in (("terms", lambda value: isinstance(value, str)), ("weights", is_number)):
            values = body.get(name)
            if not isinstance(values, list) or not all(map(good, values)):
                raise EvooptError(f"optimizer genome field {name!r} must be a list, with one entry per term")
        terms, weights = tuple(body["terms"]), tuple(body["weights"])
        return cls(**{**body, "terms": terms, "weights": weights, "stages": Pipeline(**stages)})


OptimizerIndividual = RankedIndividual[OptimizerGenome]

_STAGES = tuple(item.name for item in fields(Pipeline))
_RANGES = {name: RULE_RANGES[name] for name in ("beta1", "beta2", "beta3", "nesterov_beta")}
"""Genes that are numbers of the rule as they stand; all others are in its range by their own."""


def _values(of: Pipeline) -> dict[str, Any]:
    """The constants of a rule's stages, by name."""
    return {name: getattr(of, name) for name in _STAGES}
