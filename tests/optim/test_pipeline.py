"""Rules with stages: canonical form, key, JSON and what is refused."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.optim import MORE_TERMS, PRESETS, STAGED_PRESETS, TERMS, EvolvedOptimizer, UpdateRule, preset
from evoopt.optim.pipeline import CHOICES, Pipeline
from tests.optim.test_published import draw
from tests.rules import random_rule

STEPS = 8
ADAM, MUON = preset("adam"), preset("muon")


def moved(rule: UpdateRule) -> Tensor:
    """Where a rule takes a matrix, an output layer, a vector and their averages."""
    params = [nn.Parameter(draw(*shape, seed=k)) for k, shape in enumerate([(5, 3), (3, 4), (6,)])]
    groups = [{"params": [p], "matrix": None if k != 1 else rule.shape_output} for k, p in enumerate(params)]
    optimizer = EvolvedOptimizer(groups, rule, total_steps=STEPS)
    for step in range(STEPS):
        for k, p in enumerate(params):
            p.grad = draw(*p.shape, seed=100 + 10 * step + k)
            p.grad.view(-1)[0] = 0.0
        optimizer.step()
    with optimizer.averaged():
        averages = torch.cat([p.detach().flatten() for p in params])
    return torch.cat([averages, *(p.detach().flatten() for p in params)])


fraction = st.sampled_from([0.0, 0.25, 0.5])
STAGES = {
    **{name: st.sampled_from(names) for name, names in CHOICES.items()},
    "clip_norm": st.sampled_from([None, 0.5]),
    "l2": st.sampled_from([0.0, 0.1]),
    "gradient_difference": st.sampled_from([0.0, 0.1]),
    "normalize_first": st.booleans(),
    "slow_beta": st.sampled_from([None, 0.0, 0.9]),
    "power": st.sampled_from([0.0, 0.5, 1.0]),
    "iterations": st.sampled_from([1, 5]),
    "shape_output": st.booleans(),
    "cautious_decay": st.booleans(),
    "others_lr": st.sampled_from([1.0, 0.3]),
    "others_beta2": st.sampled_from([0.95, 0.999]),
    "decay_start": fraction,
    "decay_floor": st.sampled_from([0.0, 0.1, 1.0]),
    "decay_power": st.sampled_from([1.0, 2.0]),
    "ema_decay": st.sampled_from([0.0, 0.9]),
    "mean_fraction": st.sampled_from([0.0, 0.01, 0.5]),
    "terms": st.lists(
        st.tuples(
            st.sampled_from([term.name for term in (*TERMS, *MORE_TERMS)]),
            st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]),
        ),
        max_size=2,
    ).map(tuple),
}


@st.composite
def staged_rules(drawn: st.DrawFn) -> UpdateRule:
    names = drawn(st.sets(st.sampled_from(sorted(STAGES)), max_size=8))
    base = replace(random_rule(drawn(st.integers(0, 50))), eps=1e-2)
    if "decay_shape" in names:
        base = replace(base, cosine=False, warmup_steps=0, warmup_fraction=drawn(fraction))
    return replace(base, **{name: drawn(STAGES[name]) for name in sorted(names)})


@settings(max_examples=60, deadline=None)
@given(rule=staged_rules())
@example(rule=replace(ADAM, terms=(), others="adam", l2=0.1, eps=1e-2))
def test_canonical_form_makes_the_same_steps_and_is_stable(rule: UpdateRule) -> None:
    once = rule.canonical()
    assert once.canonical() == once
    assert once.key == rule.key
    torch.testing.assert_close(moved(once), moved(rule), rtol=1e-10, atol=1e-10)
    assert not rule.others_rule.tells_matrices_apart


@settings(max_examples=60, deadline=None)
@given(rule=staged_rules())
def test_json_round_trip_is_exact(rule: UpdateRule) -> None:
    assert UpdateRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule


@pytest.mark.parametrize("name", PRESETS)
def test_a_rule_without_stages_is_written_as_ever(name: str) -> None:
    data = PRESETS[name].to_json()
    assert data["version"] == 1
    assert not set(data) & {field.name for field in fields(Pipeline)}
    assert PRESETS[name].stages == ()
    assert list(data)[:6] == ["kind", "version", "terms", "lr", "beta1", "beta2"]


def test_keys_of_rules_without_stages_stay() -> None:
    assert {name: rule.key for name, rule in PRESETS.items()} == {
        "sgd": "7e4bb3aeed403c69",
        "adam": "bde5a2f6696538a3",
        "adamw": "36f8a699523969a7",
        "rmsprop": "9df9a4d2e3157975",
        "lion": "962d56adb9cefd94",
        "marfinetz2025": "c484fc1a2de52493",
    }


def test_a_stage_in_a_file_of_version_1_is_refused() -> None:
    with pytest.raises(EvooptError, match="no field 'shape'"):
        UpdateRule.from_json({**ADAM.to_json(), "shape": "rms"})
    with pytest.raises(EvooptError, match="reads version 1 and 2"):
        UpdateRule.from_json({**ADAM.to_json(), "version": 3})


SAME: list[tuple[UpdateRule, dict[str, Any]]] = [
    (MUON, {"terms": (("nesterov", 3.0),)}),
    (MUON, {"beta2": 0.5}),
    (replace(MUON, terms=(("momentum", 1.0),)), {"bias_correction": True}),
    (replace(ADAM, decay_shape="cosine"), {"decay_shape": "none", "cosine": True}),
    (ADAM, {"others": "adam", "others_beta2": 0.999, "others_eps": 1e-8}),
    (ADAM, {"readout": "ema", "ema_decay": 0.0}),
    (ADAM, {"readout": "mean", "mean_fraction": 0.0}),
    (ADAM, {"decay_shape": "linear", "decay_floor": 1.0}),
    (ADAM, {"cautious_decay": True}),
    (ADAM, {"slow_beta": 0.9, "power": 0.3, "iterations": 3, "shape_output": True, "decay_start": 0.5}),
    (replace(ADAM, terms=(("power_grad", 1.0),), power=1.0), {"terms": (("grad", 1.0),)}),
    (replace(ADAM, terms=(("slow_adam", 1.0),)), {"terms": (("rms_norm", 1.0),)}),
    (replace(ADAM, beta1=0.0), {"gradient_difference": 0.1}),
]


@pytest.mark.parametrize(("rule", "change"), SAME)
def test_rules_that_mean_the_same_share_a_key(rule: UpdateRule, change: dict[str, Any]) -> None:
    assert replace(rule, **change).key == rule.key


CHANGES: list[dict[str, Any]] = [
    {"clip_norm": 1.0}, {"gradient_difference": 0.1}, {"normalize_first": True}, {"second_moment": "rows"},
    {"second_moment": "factored"}, {"mask": "cautious"}, {"shape": "rms"}, {"shape": "rows"},
    {"shape": "orthogonal"}, {"shape": "orthogonal_rows"}, {"shape": "soap"}, {"scale": "trust"},
    {"scale": "match_rms"},
    {"weight_decay": 0.1, "cautious_decay": True}, {"others": "adam"}, {"others_lr": 0.5},
    {"warmup_fraction": 0.1}, {"decay_shape": "linear"}, {"readout": "ema"}, {"readout": "mean"},
]  # fmt: skip


def test_stages_that_differ_have_different_keys_and_are_named() -> None:
    rules = [ADAM, replace(ADAM, weight_decay=0.1), *(replace(ADAM, **change) for change in CHANGES)]
    assert len({rule.key for rule in rules}) == len(rules)
    assert all(rule.stages for rule in rules[2:])
    assert MUON.stages == ("shape=orthogonal", "scale=match_rms", "others=adam")
    assert STAGED_PRESETS["ademamix"].stages == ("slow_adam", "slow_beta=0.9999")
    assert all(rule.formula() != ADAM.formula() for rule in rules[2:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": "cautius"}, "'cautious'"), ({"shape": "x"}, "shape"),
        ({"clip_norm": 0.0}, "clip_norm must be positive"), ({"gradient_difference": -1.0}, "must be >= 0"),
        ({"slow_beta": 1.0}, "slow_beta"), ({"iterations": 0}, "iterations"),
        ({"others_lr": 0.0}, "others_lr"),
        ({"decay_start": 1.0}, "decay_start"), ({"warmup_fraction": 1.5}, "warmup_fraction"),
        ({"ema_decay": float("nan")}, "ema_decay"),
        ({"cosine": True, "warmup_fraction": 0.1}, "not both"),
        ({"warmup_steps": 5, "decay_shape": "linear"}, "not both"),
    ],
)  # fmt: skip
def test_stages_out_of_range_are_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(EvooptError, match=message) as caught:
        replace(ADAM, **change)
    assert "\n" not in str(caught.value)


def test_formulas_of_presets() -> None:
    assert STAGED_PRESETS["laprop"].formula() == "g = g/(sqrt(v)+eps); w -= lr * (1*m)"
    assert STAGED_PRESETS["cautious_adamw"].formula() == (
        "u = 1*m/(sqrt(v)+eps); u = u*[u*g>0]/max(mean([u*g>0]),0.001); w -= lr * u"
    )
    cautious = replace(ADAM, weight_decay=0.1, cautious_decay=True)
    assert replace(cautious, scale="match_rms").formula() == (
        "u = 1*m/(sqrt(v)+eps); decay = weight_decay*[u*w>=0]*w; w -= lr * decay; "
        "u = 0.2*sqrt(max(rows,columns))*u; w -= lr * u"
    )
    assert replace(cautious, scale="trust").formula() == (
        "u = 1*m/(sqrt(v)+eps); decay = weight_decay*[u*w>=0]*w; "
        "u = u+decay; u = u*norm(w)/norm(u), the quotient 1 where a norm is 0; w -= lr * u"
    )
    assert MUON.formula().startswith("u = 1*(m+nesterov_beta*(g-m)); u = newton_schulz(u/norm(u),iterations)")
    assert MUON.formula().endswith("w -= lr * u; no matrix: adam")
