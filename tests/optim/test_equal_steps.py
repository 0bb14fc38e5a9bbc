"""The key of equal steps: shared by one rule written in several ways, and by no two that differ."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from evoopt.optim import MORE_TERMS, TERMS, Term, UpdateRule, preset
from evoopt.optim.equal_steps import steps_key
from evoopt.optim.pipeline import CHOICES
from tests.rules import random_rule, random_staged_rule

STEPS = 100
ADAM = replace(preset("adamw"), eps=1e-6)
SIGN = UpdateRule((("sign_grad", 1.0),), use_m=False, use_v=False)
MEAN = replace(ADAM, readout="mean")

EQUAL: dict[str, tuple[UpdateRule, dict[str, Any]]] = {
    "split weight": (ADAM, {"terms": (("adam", 0.25), ("adam", 0.75))}),
    "no decay to be cautious of": (replace(ADAM, weight_decay=0.0), {"cautious_decay": True}),
    "rate in the weights": (ADAM, {"lr": 3e-3, "terms": (("adam", 1 / 3),), "weight_decay": 1e-2 / 3}),
    "rate in the warmup": (replace(ADAM, warmup_steps=200), {"lr": 2e-3, "warmup_steps": 400}),
    "a sum of two terms": (
        UpdateRule((("nesterov", 1.0),)), {"terms": (("momentum", 1 - 0.9), ("grad", 0.9))}
    ),
    "sign of a clipped gradient": (SIGN, {"clip_value": 0.1, "clip_norm": 0.5}),
    "sign of a corrected mean": (UpdateRule((("sign_momentum", 1.0),)), {"bias_correction": False}),
    "as many steps of a mean": (MEAN, {"mean_fraction": 0.252}),
    "a mean of one step": (replace(MEAN, mean_fraction=0.0), {"mean_fraction": 0.011}),
    "warmup of less than a step": (ADAM, {"warmup_fraction": 0.009}),
    "decay after the end": (ADAM, {"decay_shape": "sqrt", "decay_start": 0.995}),
    "the same for others": (ADAM, {"others": "adam", "others_beta2": 0.999, "others_eps": 1e-6}),
}  # fmt: skip


@pytest.mark.parametrize("name", EQUAL)
def test_one_rule_written_in_two_ways_has_one_key(name: str) -> None:
    rule, change = EQUAL[name]
    assert steps_key(replace(rule, **change), STEPS) == steps_key(rule, STEPS)


@pytest.mark.parametrize("draw", [random_rule, random_staged_rule])
def test_only_the_product_of_rate_and_weights_counts(draw: Any) -> None:
    """But for rounding at the border of a digit, which no seed here has."""
    for seed in range(12):
        rule = replace(draw(seed), others="rule", shape="none", scale="none", mask="none")
        terms = tuple((name, weight / 3.7) for name, weight in rule.terms)
        other = replace(rule, lr=rule.lr * 3.7, weight_decay=rule.weight_decay / 3.7, terms=terms)
        assert other.key != rule.key
        assert steps_key(other, STEPS) == steps_key(rule, STEPS), seed


def test_what_is_equal_in_a_short_training_differs_in_a_long_one() -> None:
    rule, change = EQUAL["warmup of less than a step"]
    assert steps_key(replace(rule, **change), 1000) != steps_key(rule, 1000)


MATTERS: dict[str, dict[str, Any]] = {
    "lr": {}, "beta1": {}, "beta2": {}, "eps": {}, "weight_decay": {}, "use_m": {}, "use_v": {},
    "bias_correction": {}, "clip_value": {"clip_value": 0.5}, "warmup_steps": {"warmup_steps": 20},
    "cosine": {}, "nesterov_beta": {"terms": (("nesterov", 1.0),), "nesterov_beta": 0.8},
    "beta3": {"terms": (("lion", 1.0),)},
    "clip_norm": {"clip_norm": 0.5}, "l2": {"l2": 0.01}, "gradient_difference": {"gradient_difference": 0.01},
    "normalize_first": {}, "second_moment": {}, "power": {"terms": (("power_grad", 1.0),)},
    "slow_beta": {"terms": (("slow_adam", 1.0),), "slow_beta": 0.9999},
    "mask": {}, "shape": {}, "iterations": {"shape": "orthogonal"}, "shape_output": {"shape": "rows"},
    "scale": {}, "cautious_decay": {}, "others": {}, "others_lr": {"others_lr": 0.3},
    "others_beta1": {"others": "adam"}, "others_beta2": {"others": "adam"}, "others_eps": {"others": "adam"},
    "warmup_fraction": {"warmup_fraction": 0.2}, "decay_shape": {"decay_start": 0.3, "decay_power": 2.0},
    "decay_start": {"decay_shape": "sqrt", "decay_start": 0.3},
    "decay_floor": {"decay_shape": "cosine", "decay_floor": 0.01},
    "decay_power": {"decay_shape": "power", "decay_power": 2.0},
    "readout": {}, "ema_decay": {"readout": "ema"}, "mean_fraction": {"readout": "mean"},
}  # fmt: skip
"""With which constants a field of a rule matters, in AdamW."""


def changed(name: str, value: Any) -> list[Any]:
    """Other values of a field: all other names, the next whole number, or a thousandth more or less."""
    if name in CHOICES:
        return [other for other in CHOICES[name] if other != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1]
    if name == "mean_fraction":
        return [value + 1 / STEPS]
    decays = "beta" in name or name == "ema_decay"
    return [1 - (1 - value) * 1.001 if decays else value * 1.001]


@pytest.mark.parametrize("name", [field.name for field in fields(UpdateRule) if field.name != "terms"])
@pytest.mark.parametrize("extra", [{}, {"scale": "trust", "cautious_decay": True}])
def test_a_small_change_of_any_field_changes_the_key(name: str, extra: dict[str, Any]) -> None:
    rule = replace(ADAM, **{**extra, **MATTERS[name]})
    rules = [rule, *(replace(rule, **{name: value}) for value in changed(name, getattr(rule, name)))]
    assert len({steps_key(one, STEPS) for one in rules}) == len(rules)


@pytest.mark.parametrize("term", [*TERMS, *MORE_TERMS], ids=lambda term: term.name)
@pytest.mark.parametrize("shape", ["none", "orthogonal_rows"])
def test_a_small_change_of_whatever_a_term_reads_changes_the_key(term: Term, shape: str) -> None:
    rule = UpdateRule(((term.name, 1.0), ("grad", 0.5)), slow_beta=0.99, nesterov_beta=0.8, shape=shape)
    reads = {"m": "beta1", "m_prev": "beta1", "v": "beta2", "m2": "slow_beta"}
    names = {reads.get(quantity, quantity) for quantity in term.uses} | {"clip_value", "clip_norm"}
    rule = replace(rule, clip_value=2.0, clip_norm=3.0)
    others = [replace(rule, **{name: changed(name, getattr(rule, name))[0]}) for name in sorted(names)]
    others += [replace(rule, terms=((term.name, 1.001), ("grad", 0.5)), clip_value=2.0)]
    keys = {steps_key(one, STEPS) for one in (rule, *others)}
    assert len(keys) == 1 + len(others)


@pytest.mark.parametrize(
    ("terms", "names"),
    [
        ("sign_grad", ("gradient_difference", "beta1")),
        ("sign_momentum", ("gradient_difference", "beta1", "beta2", "eps", "clip_value")),
        ("lion", ("gradient_difference", "beta1", "beta2", "beta3", "eps", "clip_value", "clip_norm")),
    ],
)
def test_constants_that_a_sign_hides_are_told_apart(terms: str, names: tuple[str, ...]) -> None:
    rule = replace(ADAM, terms=((terms, 1.0),), gradient_difference=0.02, clip_value=2.0, clip_norm=3.0)
    rule = replace(rule, use_m=terms != "sign_grad", normalize_first=True, weight_decay=0.0)
    others = [replace(rule, **{name: changed(name, getattr(rule, name))[0]}) for name in names]
    assert len({steps_key(one, STEPS) for one in (rule, *others)}) == 1 + len(others)


def test_bounds_that_no_probe_reaches_are_told_apart() -> None:
    rules = [replace(ADAM, **{name: value}) for name in ("clip_value", "clip_norm") for value in (1e6, 2e6)]
    rules += [replace(ADAM, eps=1e-20), replace(ADAM, eps=2e-20), ADAM]
    assert len({steps_key(rule, STEPS) for rule in rules}) == len(rules)


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        (UpdateRule((("power_grad", 1.0),), power=1e3), {"lr": 2e-3}),
        (UpdateRule((("power_grad", 1.0),), power=50.0), {"lr": 2e-3}),
        (UpdateRule((("lion", -1.0),), beta3=0.1, use_v=False, mask="cautious"), {"others_lr": 0.5}),
    ],
    ids=["overflows", "underflows", "is masked away"],
)
def test_a_rule_that_the_probes_do_not_show_shares_nothing_but_its_form(
    rule: UpdateRule, change: dict[str, Any]
) -> None:
    assert steps_key(rule, STEPS) == rule.key
    assert steps_key(replace(rule, **change), STEPS) not in (rule.key, steps_key(ADAM, STEPS))
