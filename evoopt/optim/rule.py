"""An update rule: the phenotype of an optimizer genome, with its canonical form, hash and JSON."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterable
from dataclasses import Field, dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from evoopt.errors import EvooptError
from evoopt.optim.terms import TERM_BY_NAME, term

RULE_VERSION = 1

Terms = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class UpdateRule:
    """A weighted sum of terms with its constants, flags and schedule.

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
        EvooptError: A value outside its range or an unknown term.
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
        pairs = tuple((term(name).name, float(weight)) for name, weight in self.terms)
        object.__setattr__(self, "terms", pairs)
        # Numbers and switches of other libraries would not survive JSON.
        for name, value in list(vars(self).items()):
            if isinstance(value, np.generic):
                object.__setattr__(self, name, value.item())
        _require(all(math.isfinite(w) for _, w in pairs), "term weights must be finite")
        _require(math.isfinite(self.lr) and self.lr > 0, f"lr must be positive, not {self.lr!r}")
        for name in ("beta1", "beta2"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"{name} must lie in [0, 1), not {value!r}")
        _require(0 <= self.beta3 <= 1, f"beta3 must lie in [0, 1], not {self.beta3!r}")
        _require(math.isfinite(self.eps) and self.eps > 0, f"eps must be positive, not {self.eps!r}")
        _require(
            math.isfinite(self.weight_decay) and self.weight_decay >= 0,
            f"weight_decay must be >= 0, not {self.weight_decay!r}",
        )
        _require(
            self.clip_value is None or (math.isfinite(self.clip_value) and self.clip_value > 0),
            f"clip_value must be positive or absent, not {self.clip_value!r}",
        )
        _require(self.warmup_steps >= 0, f"warmup_steps must be >= 0, not {self.warmup_steps!r}")
        _require(
            self.nesterov_beta is None or 0 <= self.nesterov_beta <= 1,
            f"nesterov_beta must lie in [0, 1] or be absent, not {self.nesterov_beta!r}",
        )

    @property
    def needs_total_steps(self) -> bool:
        """Whether the schedule depends on the length of the training."""
        return self.cosine

    def uses(self, quantity: str) -> bool:
        """Whether any term reads ``quantity``, one of those in `Term.uses`."""
        return any(quantity in TERM_BY_NAME[name].uses for name, _ in self.terms)

    def canonical(self) -> UpdateRule:
        """The simplest rule that makes the same steps; equal rules have equal canonical forms.

        Equal terms are merged by summing their weights, zero terms dropped, the rest ordered as in `TERMS`;
        state that no term reads is switched off and constants that no longer matter return to their defaults.
        """
        kept, use_m, use_v = self.terms, self.use_m, self.use_v
        while True:
            kept = _merged(kept if use_m else tuple((TERM_BY_NAME[n].without_m or n, w) for n, w in kept))
            uses = {quantity for name, _ in kept for quantity in TERM_BY_NAME[name].uses}
            # A moment with decay 0 is the gradient itself; only the previous moment still differs then.
            needs_m = use_m and ("m_prev" in uses or ("m" in uses and self.beta1 > 0))
            use_v = use_v and "v" in uses and self.beta2 > 0
            if use_m == needs_m:
                break
            use_m = False
        nesterov = self.nesterov_beta if "nesterov_beta" in uses else None
        # The raw previous moment is not affected by bias correction.
        corrects_m = use_m and "m" in uses and self.beta1 > 0
        return replace(
            self,
            terms=kept,
            use_m=use_m,
            use_v=use_v,
            beta1=self.beta1 if use_m else UpdateRule.beta1,
            beta2=self.beta2 if use_v else UpdateRule.beta2,
            beta3=self.beta3 if "beta3" in uses else UpdateRule.beta3,
            eps=self.eps if "eps" in uses else UpdateRule.eps,
            bias_correction=self.bias_correction and (use_v or corrects_m),
            clip_value=self.clip_value if kept else None,
            warmup_steps=self.warmup_steps if self.warmup_steps > 1 else 0,
            nesterov_beta=None if nesterov == self.beta1 else nesterov,
        )

    @cached_property
    def key(self) -> str:
        """Hash of the canonical form, 16 hex digits; equal rules have equal keys."""
        text = json.dumps(self.canonical().to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Versioned JSON object; `from_json` reads it back exactly."""
        data = {name: getattr(self, name) for name in _FIELDS}
        return {
            "kind": "update_rule",
            "version": RULE_VERSION,
            **data,
            "terms": [list(pair) for pair in self.terms],
        }

    @classmethod
    def from_json(cls, data: Any) -> UpdateRule:
        """Read a rule written by `to_json`.

        Raises:
            EvooptError: Not a rule, another version, or bad values.
        """
        body = check_header(data, "update_rule", RULE_VERSION)
        check_fields("update rule", body, fields(cls), skip=("terms",))
        _require(
            isinstance(body.get("terms"), list), "update rule needs terms, a list of [name, weight] pairs"
        )
        for pair in body["terms"]:
            shaped = isinstance(pair, list) and len(pair) == 2
            _require(
                shaped and isinstance(pair[0], str) and is_number(pair[1]),
                f"a term is written as [name, weight], not {pair!r}",
            )
        return cls(**{**body, "terms": tuple((n, w) for n, w in body["terms"])})

    def formula(self, digits: int = 4) -> str:
        """The update in plain text, e.g. ``w -= lr * (0.73*sign(g) + 3.6*m/(sqrt(v)+eps))``."""
        parts = []
        for name, weight in self.terms:
            entry = TERM_BY_NAME[name]
            formula = f"({entry.formula})" if entry.is_sum else entry.formula
            parts.append(f"{weight:+.{digits}g}*{formula}")
        body = " ".join(parts).removeprefix("+") or "0"
        return f"w -= lr * ({body.replace(' -', ' - ').replace(' +', ' + ')})"


_FIELDS = tuple(field.name for field in fields(UpdateRule))


def check_header(data: Any, kind: str, version: int) -> dict[str, Any]:
    """Check ``kind`` and ``version`` of a JSON object and return the rest of it.

    Raises:
        EvooptError: Another kind of file or a version this package does not read.
    """
    _require(isinstance(data, dict), f"expected a JSON object of kind {kind!r}")
    _require(data.get("kind") == kind, f"expected kind {kind!r}, found {data.get('kind')!r}")
    found = data.get("version")
    _require(
        found == version, f"{kind} version {found!r} is not supported, this evoopt reads version {version}"
    )
    return {name: value for name, value in data.items() if name not in ("kind", "version")}


def check_fields(
    what: str, body: dict[str, Any], known: Iterable[Field[Any]], skip: tuple[str, ...] = ()
) -> None:
    """Check names and types of a JSON object's values against a dataclass's fields.

    Raises:
        EvooptError: An unknown name or a value of another type.
    """
    kinds = {field.name: str(field.type) for field in known}
    for name, value in body.items():
        if name not in kinds:
            raise EvooptError(f"{what} has no field {name!r}; known: {', '.join(kinds)}")
        kind = kinds[name]
        good = (
            name in skip
            or (value is None and "None" in kind)
            or (kind == "bool" and isinstance(value, bool))
            or (kind == "int" and isinstance(value, int) and is_number(value))
            or ("float" in kind and is_number(value))
        )
        if not good:
            raise EvooptError(f"{what} field {name!r} must be of type {kind}, not {value!r}")


def _merged(terms: Terms) -> Terms:
    """Equal terms as one, without those of weight zero, ordered as in the registry."""
    merged: dict[str, float] = {}
    for name, weight in terms:
        merged[name] = merged.get(name, 0.0) + weight
    return tuple((n, merged[n]) for n in TERM_BY_NAME if merged.get(n, 0.0) != 0.0)


def is_number(value: Any) -> bool:
    """Whether a value read from JSON is a number that a float can hold."""
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return whole or isinstance(value, float)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise EvooptError(message)
