"""Populations of rules with stages: every engine does what `EvolvedOptimizer` does with one model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.jobs.rule_worker import Chunk, EngineName
from evoopt.optim import MORE_TERMS, PRESETS, STAGED_PRESETS, STAGES, UpdateRule, preset
from evoopt.tasks import Split, Task
from evoopt.training.batched import EngineOptions, train_batched
from evoopt.training.batched_update import BatchedUpdate, Compile
from evoopt.training.engine import choose_engine, train
from evoopt.training.flat import FlatLayout
from evoopt.training.members import Members, joined
from evoopt.training.phase import PhaseEngine, train_phase
from evoopt.training.plan import PhasePlan, TrainingPlan
from evoopt.training.population import ModelPopulation, Way
from evoopt.training.population_update import Update, population_update
from evoopt.training.sequential import evolved_optimizer, train_sequential
from tests.optim.test_staged_optimizer import EVERYTHING
from tests.optim.test_stages import asking
from tests.rules import random_rules, random_staged_rule

from .examples import task_and_data
from .test_phase import problem

STEPS = 12
COMPILES: tuple[Compile, ...] = ("always", "never")
ENGINES: tuple[EngineName, ...] = ("batched", "sequential")

MODELS: dict[str, Callable[[], nn.Module]] = {
    # Two hidden matrices of one shape, and one of its transpose's.
    "mlp": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4), nn.LayerNorm(4), nn.Linear(4, 6),
        nn.Linear(6, 3),
    ),
    "cnn": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 2), nn.Flatten(),
        nn.Linear(2, 3),
    ),
}  # fmt: skip


RULES = {
    **STAGED_PRESETS,
    **{f"{stage.part} {stage.name}": asking(stage) for stage in STAGES},
    **{term.name: UpdateRule(((term.name, 1.0),), slow_beta=0.9, power=0.7) for term in MORE_TERMS},
    "everything": EVERYTHING,
    "fractions": replace(preset("adamw"), warmup_fraction=0.3, decay_shape="sqrt", decay_start=0.4),
    "mean": replace(preset("lion"), readout="mean", mean_fraction=0.3),
    "only others": UpdateRule((), others="adam"),
    "only decay": UpdateRule((), scale="trust", weight_decay=0.1),
}


def variants(rule: UpdateRule) -> list[UpdateRule]:
    """Members of equal structure, each with constants of its own, one of them an absent one."""
    return [
        replace(rule, lr=rule.lr * k, beta1=0.8 + 0.05 * k, eps=1e-4 * k, nesterov_beta=own)
        for k, own in ((1, 0.05), (2, None), (3, 0.9))
    ]


def mixed_population() -> list[UpdateRule]:
    staged, plain = random_rules(8, 0, random_staged_rule), random_rules(4, seed=0)
    return [rule for pair in zip(staged, [*plain, *PRESETS.values()], strict=False) for rule in pair]


def gradients(members: int, layout: FlatLayout) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    draw = lambda: torch.randn(members, layout.count, generator=generator, dtype=torch.float64)  # noqa: E731
    return [layout.spread(draw()) for _ in range(STEPS)]


@functools.cache
def drawn(name: str, members: int, way: Way) -> tuple[ModelPopulation, list[Tensor]]:
    """Models and gradients, to be copied."""
    torch.manual_seed(0)
    population = ModelPopulation.from_models([MODELS[name]() for _ in range(members)], way)
    return population, gradients(members, population.architecture.layout)


def start(
    name: str, rules: list[UpdateRule], way: Way, dtype: torch.dtype = torch.float64
) -> ModelPopulation:
    return drawn(name, len(rules), way)[0][range(len(rules))].to("cpu", dtype)


def update_of(population: ModelPopulation, rules: list[UpdateRule], compile: Compile = "always") -> Update:
    return population_update(rules, population.architecture, population.weights, STEPS, compile)


def moved(
    name: str, rules: list[UpdateRule], way: Way = "vmap", compile: Compile = "always",
    dtype: torch.dtype = torch.float64, chosen: slice = slice(None), at_once: int = 100,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Weights, and what is read of them, of some members after some steps."""
    models, grads = drawn(name, len(rules), way)
    population = models[range(len(rules))[chosen]].to("cpu", dtype)
    weights, chosen_rules = population.weights, rules[chosen]
    update = update_of(population, chosen_rules, compile)
    for step, grad in enumerate(grads):
        own = grad[chosen].to(dtype)
        for k in range(0, len(weights), at_once):
            part = slice(k, min(k + at_once, len(weights)))
            update.step(weights[part], own[part].clone(), step, part.start, part.stop)
    return weights, update.readout(weights)


def reference(name: str, rules: list[UpdateRule], way: Way = "vmap") -> tuple[Tensor, Tensor]:
    population, grads = start(name, rules, way), drawn(name, len(rules), way)[1]
    read = start(name, rules, way)
    for i, rule in enumerate(rules):
        model = population.member(i)
        optimizer = evolved_optimizer(model, rule, STEPS)
        for grad in grads:
            views = population.architecture.layout.views(grad)
            for key, p in model.named_parameters():
                p.grad = views[key][i].clone()
            optimizer.step()
        population.set_member(i, model)
        with optimizer.averaged():  # type: ignore[attr-defined]
            read.set_member(i, model)
    return population.weights, read.weights


def assert_close(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_every_stage_and_preset_moves_a_population_as_its_optimizer_does(rule: UpdateRule) -> None:
    rules = variants(rule)
    expected = reference("mlp", rules)
    for compile in COMPILES:
        assert_close(moved("mlp", rules, compile=compile), expected)
    # Kernels whose channels lie innermost.
    assert_close(moved("cnn", rules, "loop", at_once=1), reference("cnn", rules, "loop"))


@pytest.mark.parametrize(("name", "at_once"), [("mlp", 100), ("cnn", 5), ("mlp", 1)])
def test_members_with_and_without_stages_share_a_population(name: str, at_once: int) -> None:
    rules = mixed_population()
    assert_close(moved(name, rules, at_once=at_once), reference(name, rules))


@pytest.mark.parametrize("seed", range(2))
def test_any_combination_of_stages_moves_a_population_as_its_optimizer_does(seed: int) -> None:
    rules = random_rules(15, seed, random_staged_rule)
    assert_close(moved("mlp", rules), reference("mlp", rules))


@pytest.mark.parametrize(("name", "compile"), [("mlp", "always"), ("mlp", "never"), ("cnn", "always")])
def test_a_member_does_not_depend_on_its_neighbours_to_the_last_bit(name: str, compile: Compile) -> None:
    rules = [rule for kind in RULES.values() for rule in variants(kind)[:2]] + mixed_population()
    together = moved(name, rules, compile=compile, dtype=torch.float32)
    for i in range(0, len(rules), 3):
        alone = moved(name, rules, compile=compile, dtype=torch.float32, chosen=slice(i, i + 1))
        for one, among_all in zip(alone, together, strict=True):
            assert torch.equal(one[0], among_all[i]), rules[i]


def test_members_without_stages_keep_their_bits_beside_members_with_stages() -> None:
    plain = random_rules(6, seed=4)
    population = start("mlp", plain, "vmap", torch.float32)
    grads = gradients(6, population.architecture.layout)
    update = BatchedUpdate(plain, STEPS, population.weights, "always")
    for step, grad in enumerate(grads):
        update.step(population.weights, grad.float(), step)
    rules = [*plain[:3], *STAGED_PRESETS.values(), *plain[3:]]
    places = [0, 1, 2, *[0] * len(STAGED_PRESETS), 3, 4, 5]
    mixed = start("mlp", plain, "vmap", torch.float32)[places]
    among = update_of(mixed, rules)
    for step, grad in enumerate(grads):
        among.step(mixed.weights, grad[places].float(), step)
    assert torch.equal(mixed.weights[[0, 1, 2, -3, -2, -1]], population.weights)


def test_state_follows_the_members_that_are_selected() -> None:
    rules = [*STAGED_PRESETS.values(), *mixed_population()]
    index = torch.tensor([7, 1, 1, 0, 5, 12, 15, 14, 14])
    expected = [rows[index] for rows in moved("mlp", rules)]
    population = start("mlp", rules, "vmap")
    update, weights = update_of(population, rules), population.weights
    for step, grad in enumerate(gradients(len(rules), population.architecture.layout)):
        if step == 8:
            update.select(index)
            weights = weights[index]
        update.step(weights, grad[index] if step >= 8 else grad, step)
    assert_close((weights, update.readout(weights)), expected)


def test_what_knows_no_stages_refuses_them() -> None:
    with pytest.raises(EvooptError, match="knows no stages: shape=orthogonal, scale=match_rms, others=adam"):
        BatchedUpdate([preset("adam"), preset("muon")], STEPS, torch.zeros(2, 3))


PHASED = ("muon", "normuon", "adafactor_moments", "mars_adamw", "ademamix", "adamw_ema")


def phased(name: str, rules: Sequence[UpdateRule]) -> tuple[Task, Split, Members]:
    task, train_split, members = problem(name)
    return task, train_split, replace(members[[k % 4 for k in range(len(rules))]], rules=tuple(rules))


@pytest.mark.parametrize("engine", ["batched", "sequential"])
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_phases_carry_the_state_of_stages(name: str, engine: PhaseEngine) -> None:
    rules = [*map(preset, PHASED), preset("adam"), EVERYTHING]
    task, split, members = phased(name, rules)
    expected, plan = members.copy(), PhasePlan(6, 8, (5,), total_steps=12)
    for round_ in range(2):
        losses = train_phase(task, split, members, plan, engine)
        assert_close([losses], [train_phase(task, split, expected, plan, "reference")])
        if round_ == 0:  # through a file, and taken apart
            members = members[[0]].with_tensors(members.tensors(), rules)
            members = joined([members[[0]], members[range(1, len(rules))]])
    kept, wanted = members.tensors(), expected.tensors()
    assert kept.keys() == wanted.keys()
    assert {"stages.update_sq_row", "stages.exp_avg_sq_col", "stages.grad_prev"} <= kept.keys()
    for key in kept:
        if key not in ("m", "v"):  # those that no rule of a member reads are not kept by its own optimizer
            torch.testing.assert_close(kept[key], wanted[key], rtol=1e-9, atol=1e-9, msg=key)


@pytest.mark.parametrize("kept", ["update_sq_row", "exp_avg_slow"])
def test_what_stages_kept_for_another_architecture_is_refused_in_one_line(kept: str) -> None:
    task, split, members = phased("mlp", [preset("normuon"), preset("ademamix")])
    train_phase(task, split, members, PhasePlan(1, 8, (5,)))
    saved = members.tensors()
    saved[f"stages.{kept}"] = saved[f"stages.{kept}"][:, 1:]
    with pytest.raises(EvooptError, match=r"^the saved models are not of this architecture$"):
        members.with_tensors(saved, members.rules)


def test_the_weights_that_live_on_from_phase_to_phase_are_the_last_ones() -> None:
    plain = [replace(preset("muon"), readout=readout) for readout in ("last", "ema", "mean")]
    task, split, members = phased("mlp", plain)
    members = members[[0, 0, 0]]
    members.rules = tuple(plain)
    train_phase(task, split, members, PhasePlan(6, 8, (5,)))
    assert bool((members.population.weights == members.population.weights[0]).all())
    assert members.m.any()
    assert members.v.any()
    train_phase(task, split, members, PhasePlan(2, 8, (5,), keep_moments=False))
    assert not members.m.any()
    assert not members.v.any()
    assert (members.stages, members.steps) == ({}, (0, 0, 0))


TRAINED = (*STAGED_PRESETS.values(), EVERYTHING, RULES["mean"], PRESETS["marfinetz2025"], RULES["fractions"])


@pytest.mark.parametrize("name", ["mlp", "odd_convolutions", "residual"])
def test_all_engines_train_and_score_alike(name: str) -> None:
    task, data = task_and_data(name)
    plan, double = TrainingPlan(12, 3, 16), torch.float64
    expected = train_sequential(task, data, TRAINED, plan, keep_losses=True, dtype=double)
    assert {result.outcome for result in expected} == {"ok"}
    ways: list[Way | Literal["auto"]] = ["auto", "loop"]
    for way in ways:
        options = EngineOptions(way=way, check_every=5)
        results = train_batched(task, data, TRAINED, plan, keep_losses=True, dtype=double, options=options)
        for result, wanted in zip(results, expected, strict=True):
            assert result.losses == pytest.approx(wanted.losses, rel=1e-9, abs=1e-9)
            assert result.eval_loss == pytest.approx(wanted.eval_loss, rel=1e-9, abs=1e-9)
            assert result.metric == wanted.metric


def test_a_readout_changes_the_score_alone() -> None:
    task, data = task_and_data("mlp")
    rules = [replace(preset("muon"), readout=readout) for readout in ("last", "ema", "mean")]
    last, ema, mean = train(task, data, rules, TrainingPlan(30, 3, 16), engine="batched", keep_losses=True)
    assert last.losses == ema.losses == mean.losses
    assert len({last.eval_loss, ema.eval_loss, mean.eval_loss}) == 3


def test_a_search_scores_staged_rules_with_filter_halving_and_divergence() -> None:
    task, data = task_and_data("mlp")
    climbs = replace(preset("muon"), terms=(("momentum", -1.0),))
    wild = replace(preset("cautious_adamw"), lr=1e6)
    rules = (preset("muon"), climbs, wild, preset("adamw_ema"), preset("adam"), preset("lamb"))
    plan = TrainingPlan(60, 3, 16, halve_at=0.5)
    for engine in ENGINES:
        results = Chunk("mlp", rules, plan, engine, descent_filter=True).work(task, data, "cpu")
        assert results[1].reason == "the update does not point downhill on any probe"
        assert results[2].outcome == "diverged"
        assert sum(result.outcome == "ok" for result in results) == 3
    name, measured = choose_engine(task, data, rules, plan)
    assert name in ENGINES
    assert {"batched_ms", "sequential_ms"} <= measured.keys()
