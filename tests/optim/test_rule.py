"""Canonical form, hash, JSON and schedule of update rules."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evoopt.errors import EvooptError
from evoopt.optim import MORE_TERMS, PRESETS, TERMS, Term, UpdateRule, preset
from evoopt.optim.schedule import schedule_factor
from evoopt.optim.terms import term as find
from tests.optim.test_rule_steps import assert_same_path, gradients, train_rule
from tests.rules import random_rule


@pytest.mark.parametrize("seed", range(30))
def test_canonical_form_makes_the_same_steps_is_stable_and_keeps_the_key(seed: int) -> None:
    rule, grads = random_rule(seed), gradients(seed)
    once = rule.canonical()
    assert_same_path(train_rule(once, grads), train_rule(rule, grads))
    assert once.canonical() == once
    assert once.key == rule.key
    names = [name for name, _ in once.terms]
    assert len(set(names)) == len(names)
    assert all(weight for _, weight in once.terms)


ADAM = preset("adam")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (ADAM, replace(ADAM, terms=(("adam", 0.25), ("adam", 0.75)))),
        (ADAM, replace(ADAM, terms=(("adam", 1.0), ("grad", 0.0)))),
        (ADAM, replace(ADAM, beta3=0.1, warmup_steps=1)),
        (UpdateRule((("adam", 1.0),), use_m=False), UpdateRule((("rms_norm", 1.0),), use_m=False)),
        (UpdateRule((("momentum", 1.0),), beta1=0.0), UpdateRule((("grad", 1.0),), use_m=False)),
        (UpdateRule((("grad", 1.0),), eps=1e-3, beta2=0.5), UpdateRule((("grad", 1.0),), use_v=False)),
        (UpdateRule((("lion", 1.0),)), UpdateRule((("lion", 1.0),), bias_correction=False)),
    ],
)  # fmt: skip
def test_rules_that_mean_the_same_share_a_key(a: UpdateRule, b: UpdateRule) -> None:
    assert a.key == b.key


@pytest.mark.parametrize(
    "change",
    [{"lr": 2e-3}, {"beta1": 0.8}, {"beta2": 0.9}, {"eps": 1e-7}, {"weight_decay": 0.1},
     {"bias_correction": False}, {"clip_value": 1.0}, {"warmup_steps": 5}, {"cosine": True},
     {"terms": (("adam", 1.1),)}],
)  # fmt: skip
def test_rules_that_differ_have_different_keys(change: dict[str, object]) -> None:
    assert replace(ADAM, **change).key != ADAM.key  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", [*PRESETS.values(), *(random_rule(seed) for seed in range(20))])
def test_json_round_trip_is_exact(rule: UpdateRule) -> None:
    assert UpdateRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(field=st.sampled_from([*ADAM.to_json(), "surprise"]), value=JSON_VALUES)
def test_a_damaged_file_gives_a_rule_or_a_clear_error(field: str, value: object) -> None:
    try:
        UpdateRule.from_json({**ADAM.to_json(), field: value})
    except EvooptError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "data", [None, [], "x", {}, {"kind": "other"}, {"kind": "update_rule", "version": 99}]
)
def test_something_else_than_a_rule_is_refused(data: object) -> None:
    with pytest.raises(EvooptError):
        UpdateRule.from_json(data)


def test_misspelt_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(EvooptError, match=r"unknown term 'sing_grad'.*'sign_grad'"):
        UpdateRule((("sing_grad", 1.0),))
    with pytest.raises(EvooptError, match=r"unknown preset 'adm'.*'adam'"):
        preset("adm")


@pytest.mark.parametrize(
    "change",
    [{"lr": 0.0}, {"lr": float("nan")}, {"beta1": 1.0}, {"beta2": -0.1}, {"beta3": 1.5}, {"eps": 0.0},
     {"weight_decay": -1.0}, {"clip_value": 0.0}, {"warmup_steps": -1}, {"terms": (("adam", float("inf")),)}],
)  # fmt: skip
def test_values_out_of_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(EvooptError):
        replace(ADAM, **change)  # type: ignore[arg-type]


def test_schedule_values_of_the_published_search() -> None:
    def factor(step: int) -> float:
        return schedule_factor(step, 500, warmup_steps=100, cosine=True)

    assert factor(0) == pytest.approx(0.01)
    assert factor(99) == pytest.approx(0.5 * (1 + torch.cos(torch.tensor(torch.pi * 99 / 500))).item())
    assert factor(100) == pytest.approx(0.5 * (1 + torch.cos(torch.tensor(torch.pi / 5))).item())
    assert factor(499) == pytest.approx(9.8696e-6, rel=1e-4)
    assert factor(500) == factor(600) == pytest.approx(0.0, abs=1e-15)


ALL_TERMS = (*TERMS, *MORE_TERMS)


def test_names_of_terms_are_unique_and_lead_to_terms() -> None:
    names = [name for term in ALL_TERMS for name in (term.name, *term.aliases)]
    assert len(set(names)) == len(names)
    assert [find(name) for name in names] == [term for term in ALL_TERMS for _ in (term.name, *term.aliases)]


@pytest.mark.parametrize("term", ALL_TERMS, ids=lambda term: term.name)
def test_a_term_says_what_its_formula_reads(term: Term) -> None:
    read = set(re.findall(r"[a-z]\w*", term.formula)) - {"g", "sign", "sqrt"}
    assert {"nesterov_beta" if name == "beta1" else name for name in read} == term.uses
    for simpler, moments in ((term.without_m, {"m", "m_prev"}), (term.without_m2, {"m2"})):
        assert (simpler is not None) == bool(term.uses & moments)
        assert simpler is None or not find(simpler).uses & moments


def test_numpy_numbers_survive_hash_and_json() -> None:
    rule = replace(ADAM, beta1=np.float64(0.0), warmup_steps=np.int64(3))  # type: ignore[arg-type]
    assert rule.key == replace(ADAM, beta1=0.0, warmup_steps=3).key
    assert UpdateRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule
