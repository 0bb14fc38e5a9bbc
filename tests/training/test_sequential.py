"""Outcomes of a training: divergence, failure, scores and random numbers."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from evoopt.errors import EvooptError, SealedTestError
from evoopt.execution.place import Precision
from evoopt.execution.precision import computing_in
from evoopt.optim import PRESETS, EvolvedOptimizer
from evoopt.tasks import SealedSplit
from evoopt.training.batched import EngineOptions, train_batched
from evoopt.training.engine import choose_engine, train
from evoopt.training.plan import TrainingPlan
from evoopt.training.sequential import evaluate, train_sequential
from evoopt.training.streams import initial_model, minibatches
from evoopt.training.trial_run import find_manner

from .examples import own_task, task_and_data

ADAM, WILD = PRESETS["adam"], replace(PRESETS["sgd"], lr=1e6)
PLAN = TrainingPlan(12, seed=1, batch_size=16, window=5)
ENGINES = ("batched", "sequential")


@pytest.fixture(params=[train_sequential, train_batched])
def trainer(request: pytest.FixtureRequest):
    return request.param


def test_a_training_reports_its_scores(trainer) -> None:
    task, data = task_and_data("mlp")
    (result,) = trainer(task, data, [PRESETS["rmsprop"]], replace(PLAN, steps=60), keep_losses=True)
    assert (result.outcome, result.reason, result.steps) == ("ok", "", 60)
    assert len(result.losses) == 60
    assert result.train_loss == pytest.approx(sum(result.losses[-5:]) / 5)
    assert result.losses[-1] < result.losses[0]
    assert result.metric > 0.5
    assert result.seconds > 0


def test_a_plain_training_by_a_rule_imports_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    for method in (torch.optim.Optimizer.add_param_group, torch.optim.Optimizer.zero_grad):
        monkeypatch.delattr(method.__wrapped__, "__dynamo_disable", raising=False)  # type: ignore[attr-defined]
    task, data = task_and_data("mlp")
    train_sequential(task, data, [ADAM], PLAN)
    assert "torch._dynamo" not in sys.modules


def test_losses_are_kept_on_request_only(trainer) -> None:
    task, data = task_and_data("mlp")
    assert trainer(task, data, [ADAM], PLAN)[0].losses == ()


def test_a_member_that_diverges_says_when_and_costs_no_other(trainer) -> None:
    task, data = task_and_data("mlp")
    wild, adam = trainer(task, data, [WILD, ADAM], PLAN, keep_losses=True)
    assert (wild.outcome, wild.steps, len(wild.losses)) == ("diverged", 1, 1)
    assert wild.reason.startswith("batch loss")
    assert wild.reason.endswith("at step 2")
    assert math.isnan(wild.metric)
    assert adam.outcome == "ok"


def test_a_loss_at_the_limit_is_no_divergence(trainer) -> None:
    task, data = task_and_data("mlp")
    first = trainer(task, data, [ADAM], replace(PLAN, steps=1), keep_losses=True)[0].losses[0]
    assert trainer(task, data, [ADAM], replace(PLAN, steps=1, max_loss=first))[0].outcome == "ok"
    below = trainer(task, data, [ADAM], replace(PLAN, steps=1, max_loss=first * 0.999))[0]
    assert (below.outcome, below.steps) == ("diverged", 0)


def test_weights_that_end_up_not_finite_are_a_divergence(trainer) -> None:
    task, data = task_and_data("mlp")
    last_step_explodes = replace(PRESETS["sgd"], lr=1e38)
    (result,) = trainer(task, data, [last_step_explodes], replace(PLAN, steps=1))
    assert (result.outcome, result.steps) == ("diverged", 1)
    assert result.reason == "weights or outputs not finite at evaluation"


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_model_with_a_weight_that_is_not_finite_has_no_score_even_if_no_output_shows_it(
    value: float,
) -> None:
    task, data = task_and_data("mlp")
    model = task.make_model()
    model.register_parameter("unused", nn.Parameter(torch.tensor(value)))
    assert all(map(math.isnan, evaluate(task, model, data.validation)))


@pytest.mark.filterwarnings("ignore:.*could not be trained as one program")
def test_an_exception_is_a_failure_with_its_reason(trainer) -> None:
    def broken() -> nn.Module:
        raise ValueError("no such layer")

    task = own_task("broken", broken, (10,))
    for result in trainer(task, task.load(None), [ADAM, WILD], PLAN):
        assert (result.outcome, result.reason) == ("failed", "ValueError: no such layer")


def test_a_runtime_error_in_the_optimizer_is_a_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: EvolvedOptimizer) -> None:
        raise RuntimeError("value cannot be converted")

    monkeypatch.setattr(EvolvedOptimizer, "step", fail)
    task, data = task_and_data("mlp")
    (result,) = train_sequential(task, data, [ADAM], PLAN)
    assert (result.outcome, result.steps) == ("diverged", 0)
    assert result.reason == "optimizer step failed: RuntimeError: value cannot be converted"


@pytest.mark.parametrize("precision", ["full", "bf16"])
def test_when_the_batched_program_breaks_members_are_still_trained(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, data = task_and_data("mlp")
    with computing_in(precision):
        expected = train_sequential(task, data, [ADAM, WILD, ADAM], PLAN)

    def out_of_memory(*args: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("evoopt.training.lockstep.losses_and_gradients", out_of_memory)
    options = EngineOptions(precision=precision)
    with pytest.warns(UserWarning, match="could not be trained as one program"):
        actual = train_batched(task, data, [ADAM, WILD, ADAM], PLAN, options=options)
    assert [(r.outcome, r.eval_loss) for r in actual if r.outcome == "ok"] == [
        (r.outcome, r.eval_loss) for r in expected if r.outcome == "ok"
    ]
    assert actual[1].outcome == "diverged"


def test_a_large_population_is_trained_in_groups_that_fit_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    task, data = task_and_data("mlp")
    rules = [replace(ADAM, lr=1e-3 * (1 + k)) for k in range(7)]
    expected = train_batched(task, data, rules, PLAN, keep_losses=True)
    monkeypatch.setattr("evoopt.training.batched.members_in_cache", lambda *sizes: 3)
    actual = train_batched(task, data, rules, PLAN, keep_losses=True)
    assert [r.losses for r in actual] == [r.losses for r in expected]


def test_the_test_split_stays_sealed_unless_opened(trainer) -> None:
    task, data = task_and_data("mlp")
    on_test = replace(PLAN, split="test")
    with pytest.raises(SealedTestError):
        trainer(task, data, [ADAM], on_test)
    opened = replace(data, test=SealedSplit(data.validation, unsealed=True))
    assert trainer(task, opened, [ADAM], on_test)[0].metric == trainer(task, data, [ADAM], PLAN)[0].metric


def test_rules_see_the_same_numbers_whoever_else_is_trained(trainer) -> None:
    task, data = task_and_data("odd_convolutions")
    alone = trainer(task, data, [ADAM], PLAN, keep_losses=True)[0]
    beside = trainer(task, data, [PRESETS["sgd"], ADAM], PLAN, keep_losses=True)[1]
    assert alone.losses == beside.losses
    other_seed = trainer(task, data, [ADAM], replace(PLAN, seed=2), keep_losses=True)[0]
    assert alone.losses != other_seed.losses


def test_training_leaves_the_global_random_state_alone(trainer) -> None:
    task, data = task_and_data("odd_convolutions")
    torch.manual_seed(7)
    before = torch.get_rng_state()
    trainer(task, data, [ADAM], PLAN)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("drop_last", [True, False])
def test_every_epoch_visits_every_example_once(drop_last: bool) -> None:
    batches = minibatches(50, TrainingPlan(10, seed=0, batch_size=16, drop_last=drop_last))
    assert len(batches) == 10
    epoch = torch.cat(batches[: 3 if drop_last else 4])
    assert len(epoch.unique()) == len(epoch) == (48 if drop_last else 50)


def test_a_cosine_schedule_can_be_longer_than_the_training(trainer) -> None:
    task, data = task_and_data("mlp")
    rule = replace(ADAM, cosine=True, lr=1e-2)
    full = trainer(task, data, [rule], replace(PLAN, steps=6, schedule_steps=12), keep_losses=True)[0]
    longer = trainer(task, data, [rule], PLAN, keep_losses=True)[0]
    assert full.losses == pytest.approx(longer.losses[:6])


def test_choosing_an_engine_names_one_and_says_what_was_measured() -> None:
    task, data = task_and_data("mlp")
    name, measured = choose_engine(task, data, [ADAM] * 4, PLAN)
    assert name in ("batched", "sequential")
    assert measured["members"] == 4
    times = {engine: measured[f"{engine}_ms"] for engine in ("batched", "sequential")}
    assert name == min(times, key=lambda engine: times[engine])
    assert all(value > 0 for value in times.values())


@pytest.mark.parametrize(
    ("broken", "taken"),
    [((), "batched"), (("batched",), "sequential"), (("sequential",), "batched"), (ENGINES, "sequential")],
)
def test_of_engines_those_that_fail_are_not_taken_and_say_why(
    broken: tuple[str, ...], taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds_per_step(
        task: Any, data: Any, rules: Sequence[Any], plan: Any, device: Any, options: Any
    ) -> float:
        engine = "sequential" if options.way == "loop" else "batched"
        tried[engine] = len(rules)
        if engine in broken:
            raise ValueError(f"no {engine} here")
        return 0.004

    tried: dict[str, int] = {}
    monkeypatch.setattr("evoopt.training.engine.seconds_per_step", seconds_per_step)
    name, measured = choose_engine(*task_and_data("mlp"), [ADAM] * 4, PLAN)
    assert name == taken
    assert tried == {"batched": 4, "sequential": 2}, (
        "one by one the cost of a member does not depend on others"
    )
    times = {"batched_ms": 1.0, "sequential_ms": 2.0}
    expected = {f"{engine}_ms": times[f"{engine}_ms"] for engine in ENGINES if engine not in broken}
    reasons = {engine: f"ValueError: no {engine} here" for engine in broken}
    assert measured == {"members": 4, "device": "cpu", **expected, **reasons}


@pytest.mark.parametrize("engine", ["auto", "batched", "sequential"])
def test_every_engine_trains(engine: str) -> None:
    task, data = task_and_data("digits_cnn")
    expected = train_sequential(task, data, [ADAM, WILD], PLAN)
    actual = train(task, data, [ADAM, WILD], PLAN, engine=engine)
    assert [r.outcome for r in actual] == ["ok", "diverged"]
    assert actual[0].eval_loss == pytest.approx(expected[0].eval_loss, rel=1e-3)


def test_products_by_torch_are_in_bfloat16_on_a_cpu_where_asked_for() -> None:
    task, data = task_and_data("digits_cnn")
    [exact] = train(task, data, [ADAM], PLAN, engine="sequential")
    [other] = train(task, data, [ADAM], PLAN, engine="sequential", options=EngineOptions(precision="bf16"))
    assert other.eval_loss != exact.eval_loss
    assert other.eval_loss == pytest.approx(exact.eval_loss, rel=0.02)


def strided() -> nn.Module:
    """Layers that run in float32 before and between those whose products are in bfloat16."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Dropout2d(0.2), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(72, 4),
    )  # fmt: skip


def test_in_bfloat16_engines_differ_by_the_rounding_of_products() -> None:
    task = own_task("strided", strided, (1, 8, 8))
    data, rules = task.load(None), [ADAM, replace(ADAM, lr=3e-3)]  # type: ignore[arg-type]
    exact = train_batched(task, data, rules, PLAN, keep_losses=True)
    with computing_in("bf16"):
        models = [initial_model(task, seed) for seed in (0, 1)]
        assert find_manner(task, data.train, models, task.batch_size).way == "stacked"
        expected = train_sequential(task, data, rules, PLAN, keep_losses=True)
        actual = train_batched(
            task, data, rules, PLAN, keep_losses=True, options=EngineOptions(precision="bf16")
        )
    for one, other, unlike in zip(actual, expected, exact, strict=True):
        assert one.losses[:5] == pytest.approx(other.losses[:5], rel=1e-3)
        assert one.losses != unlike.losses


def test_tf32_is_refused_on_a_cpu() -> None:
    task, data = task_and_data("mlp")
    with pytest.raises(EvooptError, match="CUDA"):
        train_batched(task, data, [ADAM], PLAN, options=EngineOptions(precision="tf32"))
