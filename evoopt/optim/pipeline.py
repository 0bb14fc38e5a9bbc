"""What a rule says beside its weighted sum of terms: the constants of its stages, each with an identity."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from evoopt.errors import EvooptError, unknown_name
from evoopt.optim.stages import STAGES, Stage
from evoopt.optim.stages.annealing import DECAY_SHAPE_BY_NAME
from evoopt.optim.stages.readout import READOUT_BY_NAME

Range = tuple[Callable[[Any], bool], str]
"""Whether a number is allowed, and what it must do or be otherwise."""

POSITIVE: Range = (lambda x: math.isfinite(x) and x > 0, "be positive")
NOT_NEGATIVE: Range = (lambda x: math.isfinite(x) and x >= 0, "be >= 0")
DECAY: Range = (lambda x: 0 <= x < 1, "lie in [0, 1)")
FRACTION: Range = (lambda x: 0 <= x <= 1, "lie in [0, 1]")


def check_ranges(of: object, ranges: Mapping[str, Range]) -> None:
    """Refuse a number out of its range; a field that is absent by default may be.

    Raises:
        EvooptError: The first of them that is.
    """
    own, kind = vars(of), type(of)
    for name, (good, must) in ranges.items():
        value = own[name]
        if value is not getattr(kind, name) and not good(value):
            raise EvooptError(f"{name} must {must}, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """The stages around the sum; by default none of them does anything.

    A *matrix* is a parameter of two or more dimensions, seen as ``[out, rest]``, unless whoever knows the
    model says that it is none; `evoopt.optim.groups.matrix_groups` says so of embeddings and of the output
    layer.

    Attributes:
        clip_norm: Longest gradient of a parameter, by its norm; None for any. It follows the difference.
        l2: Coupled weight decay: ``l2*w`` is added to the clipped gradient, so that moments see it, >= 0.
        gradient_difference: MARS' gamma, >= 0: how much of the change of the gradient is added to it.
        normalize_first: Divide the gradient by ``sqrt(v) + eps`` before anything else sees it (LaProp).
        second_moment: ``"full"``; of a matrix also one for each of its ``"rows"``, or ``"factored"`` into
            rows and columns.
        slow_beta: Decay of the slow moment, in [0, 1); None for none, ``m2 := g``.
        power: Exponent in the power term, >= 0.
        mask: ``"none"`` or ``"cautious"``.
        shape: What becomes of a matrix' direction: ``"none"``, ``"rms"``, ``"rows"``, ``"orthogonal"``,
            ``"orthogonal_rows"`` or ``"soap"``.
        iterations: Those of Newton and Schulz in orthogonal shapes, >= 1.
        shape_output: Whether the output layer counts as a matrix.
        scale: ``"none"``, ``"trust"`` (of every tensor; the decay is part of what is scaled) or
            ``"match_rms"`` (of a matrix).
        cautious_decay: Decay only weights that the update moves towards zero or not at all.
        others: What moves parameters that are no matrices: the ``"rule"`` without its stages for matrices,
            or plain ``"adam"`` with the weight decay, schedule and readout of the rule.
        others_lr: Factor on their learning rate, > 0.
        others_beta1: Decay of their first moment, of Adam alone, like the next two.
        others_beta2: Decay of their second moment.
        others_eps: Their numerical constant.
        warmup_fraction: Fraction of the training with linear warmup, in [0, 1].
        decay_shape: ``"none"``, ``"cosine"``, ``"linear"``, ``"sqrt"``, ``"power"`` or ``"steps"``.
        decay_start: Fraction of the training before the learning rate decays, in [0, 1).
        decay_floor: Its factor at the end, in [0, 1].
        decay_power: Exponent of the shape ``"power"``, > 0.
        readout: What the training ends with: the ``"last"`` weights, their ``"ema"`` or the ``"mean"`` of a
            last part.
        ema_decay: Decay of the average, in [0, 1).
        mean_fraction: Fraction of the training whose weights are averaged, in [0, 1].
    """

    clip_norm: float | None = None
    gradient_difference: float = 0.0
    l2: float = 0.0
    normalize_first: bool = False
    second_moment: str = "full"
    slow_beta: float | None = None
    power: float = 0.5
    mask: str = "none"
    shape: str = "none"
    iterations: int = 5
    shape_output: bool = False
    scale: str = "none"
    cautious_decay: bool = False
    others: str = "rule"
    others_lr: float = 1.0
    others_beta1: float = 0.9
    others_beta2: float = 0.95
    others_eps: float = 1e-10
    warmup_fraction: float = 0.0
    decay_shape: str = "none"
    decay_start: float = 0.0
    decay_floor: float = 0.0
    decay_power: float = 1.0
    readout: str = "last"
    ema_decay: float = 0.999
    mean_fraction: float = 0.25

    def __post_init__(self) -> None:
        own = vars(self)
        for name, known in CHOICES.items():
            if own[name] not in known:
                raise unknown_name(name, str(own[name]), known)
        check_ranges(self, RANGES)

    @cached_property
    def active(self) -> tuple[Stage, ...]:
        """The stages on tensors that are not the identity, in the order in which a step passes them."""
        return tuple(stage for stage in STAGES if self._asks_for(stage))

    def to_fields(self) -> dict[str, Any]:
        """Its fields as files hold them: ``l2``, which older ones lack, only where there is any."""
        return {name: getattr(self, name) for name in _FIELDS if name != "l2" or self.l2}

    @property
    def has_fractions(self) -> bool:
        """Whether the schedule is one in fractions of the training."""
        return self.warmup_fraction > 0 or self.decay_shape != "none"

    @property
    def needs_matrices(self) -> bool:
        """Whether any stage needs a parameter's rows and columns."""
        return any(stage.acts_on == "matrix" for stage in self.active)

    @property
    def decomposes(self) -> bool:
        """Whether any stage takes eigenvectors."""
        return any(stage.decomposes for stage in self.active)

    @property
    def tells_matrices_apart(self) -> bool:
        """Whether parameters that are no matrices move in another way than matrices."""
        return self.needs_matrices or self.others != "rule" or self.others_lr != 1

    def _asks_for(self, stage: Stage) -> bool:
        if stage.name in _FIELDS:  # a number or switch, whose default is the identity
            return bool(getattr(self, stage.name) != getattr(Pipeline, stage.name))
        field = "second_moment" if stage.part == "moments" else stage.part
        return bool(getattr(self, field) == stage.name)


CHOICES: dict[str, tuple[str, ...]] = {
    "second_moment": ("full", "rows", "factored"),
    "mask": ("none", "cautious"),
    "shape": ("none", "rms", "rows", "orthogonal", "orthogonal_rows", "soap"),
    "scale": ("none", "trust", "match_rms"),
    "others": ("rule", "adam"),
    "decay_shape": ("none", *DECAY_SHAPE_BY_NAME),
    "readout": ("last", *READOUT_BY_NAME),
}
"""What a field of names may say, its identity first."""

RANGES: dict[str, Range] = {
    **dict.fromkeys(("clip_norm", "others_lr", "others_eps", "decay_power"), POSITIVE),
    **dict.fromkeys(("gradient_difference", "l2", "power"), NOT_NEGATIVE),
    **dict.fromkeys(("slow_beta", "others_beta1", "others_beta2", "decay_start", "ema_decay"), DECAY),
    **dict.fromkeys(("warmup_fraction", "decay_floor", "mean_fraction"), FRACTION),
    "iterations": (lambda x: x >= 1 and x % 1 == 0, "be a whole number, at least 1"),
}
"""What a field of numbers may be."""

SWITCHES = (
    "clip_norm", "gradient_difference", "l2", "second_moment", "normalize_first", "slow_beta", "mask",
    "shape", "scale", "cautious_decay", "others", "others_lr", "warmup_fraction", "decay_shape", "readout",
)  # fmt: skip
"""Fields whose defaults are the identity of a stage; all others are constants of what these ask for."""


def is_decay(name: str) -> bool:
    """Whether a constant of a rule or an optimizer is the decay of a moving average, varied as 1 - decay."""
    return name.startswith("beta") or name in ("momentum", "alpha", "slow_beta", "ema_decay")


_FIELDS = tuple(field.name for field in fields(Pipeline))
