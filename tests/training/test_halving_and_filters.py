"""Saving trainings: the worse half stops early, and hopeless rules are never trained."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from evoopt.optim import PRESETS, STAGED_PRESETS, UpdateRule, preset
from evoopt.training.batched import train_batched
from evoopt.training.filters import _probes, reject_reason
from evoopt.training.halving import better_half
from evoopt.training.plan import TrainingPlan
from tests.rules import random_rules, random_staged_rule

from .examples import task_and_data


def test_the_half_with_the_lower_recent_loss_stays() -> None:
    curves = [[9.0, 1.0], [0.0, 3.0], [5.0, 2.0], [1.0, 4.0], [7.0, 0.5]]
    assert better_half(curves, window=1) == [0, 2, 4]
    assert better_half(curves, window=2) == [1, 2, 3]


def test_members_out_of_the_race_count_as_the_worse_half() -> None:
    assert better_half([[], [2.0], [], [1.0]], window=5) == [1, 3]
    assert better_half([[], [2.0], [], []], window=5) == [1]
    assert better_half([[1.0], [1.0], [1.0], [1.0]], window=5) == [0, 1]


def test_what_halving_changes_on_recorded_curves() -> None:
    """The final winner of full trainings survives a rung at 25%, and what survives is better on average."""
    task, data = task_and_data("digits")
    rules = random_rules(24, seed=11)
    plan = TrainingPlan(120, seed=0, batch_size=16, window=20)
    full = train_batched(task, data, rules, plan, keep_losses=True)
    rung = replace(plan, halve_at=0.25).rung
    curves = [list(r.losses[:rung]) if r.outcome == "ok" else [] for r in full]
    kept = better_half(curves, plan.window)
    ok = [i for i, r in enumerate(full) if r.outcome == "ok"]
    dropped = [i for i in ok if i not in kept]
    best = min(ok, key=lambda i: full[i].train_loss)
    assert best in kept
    assert len(kept) == 12
    assert dropped
    mean = lambda members: sum(full[i].train_loss for i in members) / len(members)  # noqa: E731
    assert mean(kept) < mean(dropped)
    halved = train_batched(task, data, rules, replace(plan, halve_at=0.25), keep_losses=True)
    assert [i for i, r in enumerate(halved) if r.outcome == "ok"] == kept
    assert halved[best].losses == full[best].losses
    steps = sum(r.steps for r in halved)
    assert steps < 0.75 * sum(r.steps for r in full)


@pytest.mark.parametrize("name", [*PRESETS, *STAGED_PRESETS])
def test_well_known_optimizers_pass_the_filter(name: str) -> None:
    rule = preset(name)
    assert reject_reason(rule) is None
    assert reject_reason(replace(rule, warmup_steps=500, cosine=True, weight_decay=1.0)) is None
    in_fractions = replace(rule, warmup_steps=0, cosine=False, warmup_fraction=1.0, decay_shape="linear")
    assert reject_reason(in_fractions) is None


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (UpdateRule(()), "zero"),
        (UpdateRule((("grad", 1.0), ("grad", -1.0))), "zero"),
        (UpdateRule((("adam", -1.0),)), "downhill"),
        (UpdateRule((("sign_grad", -0.5), ("grad", 1e-3))), "downhill"),
        (UpdateRule((("adam", -1.0),), shape="orthogonal", others="adam"), "downhill"),
        (UpdateRule((), shape="orthogonal", others="adam"), "zero"),
    ],
)
def test_hopeless_rules_are_rejected_with_a_reason(rule: UpdateRule, reason: str) -> None:
    assert reason in (reject_reason(rule) or "")


def test_a_rule_that_descends_on_some_gradients_passes() -> None:
    assert reject_reason(UpdateRule((("sign_grad", -0.1), ("grad", 1.0)))) is None


def test_rejected_rules_do_not_learn_in_training() -> None:
    task, data = task_and_data("mlp")
    rules = [replace(rule, weight_decay=0.0) for rule in random_rules(40, seed=5)]
    rejected = [rule for rule in rules if reject_reason(rule)]
    results = train_batched(task, data, rejected, TrainingPlan(60, seed=0, batch_size=16), keep_losses=True)
    learned = [r for r in results if r.outcome == "ok" and r.train_loss < r.losses[0] - 0.1]
    assert len(rejected) >= 8
    assert not learned


def test_the_filter_shows_every_rule_the_same_gradients() -> None:
    kept = _probes()
    for rule in random_rules(20, seed=3, draw=random_staged_rule):
        reject_reason(rule)
    _probes.cache_clear()
    for shown, drawn in zip(kept, _probes(), strict=True):
        assert torch.equal(shown, drawn)
