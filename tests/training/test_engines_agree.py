"""The contract of every fast path: it gives what the plain loop gives."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch

from evoopt.optim import PRESETS
from evoopt.tasks import TASKS
from evoopt.training.batched import EngineOptions, train_batched
from evoopt.training.plan import TrainingPlan, TrainingResult
from evoopt.training.population import Architecture, Way
from evoopt.training.sequential import train_sequential
from tests.rules import random_rules

from .examples import OWN_TASKS, task_and_data

SIGN_TERMS = ("sign_grad", "sign_momentum", "lion")

# Neither the gradient of a bias in front of batch normalisation nor what it does to the loss is more than
# rounding, but a sign makes full steps of it, which the running mean follows: only training losses agree.
ROUNDING_MATTERS = {"cifar10", "cifar10_resnet20"}
# Here some gradients are sums that cancel to rounding, of which a sign makes a full step of one weight.
GRADIENTS_CANCEL = {"mnist_lenet_hpo"}


def assert_same(expected: TrainingResult, actual: TrainingResult, scores: bool = True) -> None:
    assert (actual.outcome, actual.steps) == (expected.outcome, expected.steps)
    assert actual.losses == pytest.approx(expected.losses, rel=1e-9, abs=1e-9)
    if expected.outcome == "ok" and scores:
        assert actual.train_loss == pytest.approx(expected.train_loss, rel=1e-9)
        assert actual.eval_loss == pytest.approx(expected.eval_loss, rel=1e-9, abs=1e-9)
        assert actual.metric == pytest.approx(expected.metric, rel=1e-9, abs=1e-9)
    if expected.outcome != "ok":
        assert actual.reason == expected.reason
        assert all(math.isnan(x) for x in (actual.train_loss, actual.eval_loss, actual.metric))


def test_every_built_in_task_is_covered() -> None:
    for name in TASKS:
        task_and_data(name)


LARGE = (
    "mnist", "fashion_mnist", "cifar10", "mnist_lenet5", "mnist_lenet_hpo", "cifar10_resnet20",
    "cifar10_capsnet", "iwslt_vi_en", "rpv", "genetic_mnist", "genetic_cifar10", "digits_rows", "characters",
    "mnist_autoencoder", "fashion_mnist_mlp128", "fashion_mnist_cnn_small", "cifar10_cnn_small",
)  # fmt: skip
# Layers and losses of others.
ALIKE = ("breast_cancer", "wine", "heavy_tail", "letter_mlp128")
# Millions of weights in layers that others have too: minutes for nothing new.
LEFT_OUT = (
    "orl5", "orl7", "orl9", "p3b1", "iwslt_vi_en_full", "genetic_mnist_136", "genetic_cifar10_rgb",
    "p3b1_f1", "p3b1_stand_in", "rpv_stand_in", "language",
)  # fmt: skip


SMALL = [name for name in TASKS if name not in LARGE + ALIKE + LEFT_OUT]


@pytest.mark.parametrize("name", [*OWN_TASKS, "residual@rescaled", *SMALL])
def test_batched_training_equals_the_plain_loop_in_float64(name: str) -> None:
    check_agreement(name, ("auto", "vmap", "loop"), TrainingPlan(20, 3, 16, False, window=7), members=8)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in LARGE + ALIKE])
def test_batched_training_equals_the_plain_loop_for_large_models(name: str) -> None:
    check_agreement(name, ("auto", "loop"), TrainingPlan(12, 3, 12, False, window=7), members=3)


def check_agreement(
    name: str, ways: tuple[Way | Literal["auto"], ...], plan: TrainingPlan, members: int
) -> None:
    task, data = task_and_data(name)
    rules = random_rules(members, seed=4)
    expected = train_sequential(task, data, rules, plan, keep_losses=True, dtype=torch.float64)
    assert sum(result.outcome == "ok" for result in expected) >= 2
    # For many models ``auto`` is a way that is among the others.
    for way in {Architecture.of(task.make_model(), way).way: way for way in ways}.values():
        actual = train_batched(
            task, data, rules, plan, keep_losses=True, dtype=torch.float64,
            options=EngineOptions(way=way, compile="never", check_every=6),
        )  # fmt: skip
        for rule, a, b in zip(rules, expected, actual, strict=True):
            signs = any(term in SIGN_TERMS for term, _ in rule.terms)
            if signs and name in GRADIENTS_CANCEL:
                assert (b.outcome, b.steps) == (a.outcome, a.steps), way
                assert b.losses == pytest.approx(a.losses, rel=1e-4), way
                continue
            assert_same(a, b, scores=not (signs and name in ROUNDING_MATTERS))


@pytest.mark.parametrize("compile", ["never", "always"])
def test_diverging_members_neither_disturb_nor_hide_healthy_ones(compile: str) -> None:
    task, data = task_and_data("odd_convolutions")
    healthy = random_rules(5, seed=1)
    bad = [replace(PRESETS[name], lr=lr) for name, lr in (("sgd", 1e6), ("adam", 1e3), ("sgd", 1e30))]
    rules = [bad[0], *healthy[:2], bad[1], *healthy[2:], bad[2]]
    plan = TrainingPlan(20, seed=0, batch_size=16)
    options = EngineOptions(compile=compile, check_every=4)
    expected = train_sequential(task, data, rules, plan, keep_losses=True, dtype=torch.float64)
    together = train_batched(task, data, rules, plan, keep_losses=True, dtype=torch.float64, options=options)
    assert [r.outcome for r in expected].count("diverged") >= 3
    for a, b in zip(expected, together, strict=True):
        assert_same(a, b)
    alone = train_batched(task, data, healthy, plan, keep_losses=True, dtype=torch.float64, options=options)
    beside = [together[i] for i in (1, 2, 4, 5, 6)]
    assert [r.losses for r in alone] == [r.losses for r in beside], "not bit for bit the same"
    assert [r.eval_loss for r in alone] == [r.eval_loss for r in beside]


@pytest.mark.parametrize("name", ["digits", "digits_cnn"])
def test_a_member_is_the_same_bit_for_bit_in_float32_when_others_diverge(name: str) -> None:
    task, data = task_and_data(name)
    healthy = random_rules(5, seed=4)
    plan = TrainingPlan(20, seed=0, batch_size=16)
    options = EngineOptions(compile="never", check_every=5)
    alone = train_batched(task, data, healthy, plan, keep_losses=True, options=options)
    together = train_batched(
        task, data, [replace(PRESETS["sgd"], lr=1e6), *healthy], plan, keep_losses=True, options=options
    )
    assert together[0].outcome == "diverged"
    assert [r.losses for r in alone] == [r.losses for r in together[1:]]
    assert [(r.eval_loss, r.metric) for r in alone] == [(r.eval_loss, r.metric) for r in together[1:]]


@pytest.mark.parametrize("halve_at", [0.25, 0.3])
def test_engines_stop_the_same_half(halve_at: float) -> None:
    task, data = task_and_data("mlp")
    rules = [*random_rules(6, seed=2), replace(PRESETS["sgd"], lr=1e6)]
    plan = TrainingPlan(20, seed=0, batch_size=16, halve_at=halve_at)
    expected = train_sequential(task, data, rules, plan, keep_losses=True, dtype=torch.float64)
    actual = train_batched(task, data, rules, plan, keep_losses=True, dtype=torch.float64)
    outcomes = [r.outcome for r in expected]
    assert (outcomes.count("ok"), outcomes.count("stopped"), outcomes.count("diverged")) == (4, 2, 1)
    assert {r.steps for r in expected if r.outcome == "stopped"} == {plan.rung}
    for a, b in zip(expected, actual, strict=True):
        assert_same(a, b)


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["mlp", "odd_convolutions", "residual", "digits_cnn", "cifar10"])
def test_batched_training_on_cuda_equals_the_plain_loop_there(name: str) -> None:
    task, data = task_and_data(name)
    rules = [PRESETS["adam"], PRESETS["sgd"], PRESETS["rmsprop"]]
    plan = TrainingPlan(20, seed=3, batch_size=16)
    expected = train_sequential(task, data, rules, plan, "cuda", True, dtype=torch.float64)
    actual = train_batched(task, data, rules, plan, "cuda", True, dtype=torch.float64)
    for a, b in zip(expected, actual, strict=True):
        assert b.losses == pytest.approx(a.losses, rel=1e-6)
