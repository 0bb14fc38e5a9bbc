"""Whatever model people bring: every engine trains it to the same numbers, or refuses it in the same line."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from evoopt import Gadam, GeneticTrainer, PopulationBasedTraining
from evoopt.errors import EvooptError
from evoopt.optim import PRESETS
from evoopt.tasks.own_data import own_task
from evoopt.tasks.task import Split
from evoopt.training.engine import train
from evoopt.training.plan import TrainingPlan, TrainingResult
from evoopt.training.sequential import train_sequential
from tests.zoo import TRAIN, ZOO, Case

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

Outcome = list[float] | str
"""Numbers of a training, or the line that refuses it."""

RULES = [PRESETS["adam"], PRESETS["sgd"]]
PLAN = TrainingPlan(3, seed=1, batch_size=8)
SPACE = {"lr": {"min": 1e-4, "max": 1e-2, "default": 1e-3}}


def parts(case: Case) -> tuple[Split, Split]:
    """Training and validation examples: copies, to see whether anybody writes to them."""
    x, y = case.x.clone(), case.y.clone()
    return Split(x[:TRAIN], y[:TRAIN]), Split(x[TRAIN:], y[TRAIN:])


def spoken_by_torch(case: Case) -> set[str]:
    """What torch warns of when the model is used without us."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            case.loss(case.make().train()(case.x[:2].clone()), case.y[:2])
            case.make().eval()(case.x[:2].clone())
        except Exception:
            pass
    return {str(one.message) for one in caught}


def outcome(case: Case, run: Callable[[Split, Split], list[float]]) -> Outcome:
    known, given = spoken_by_torch(case), parts(case)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result: Outcome = run(*given)
        except EvooptError as error:
            result = str(error)
            assert "\n" not in result
    assert {str(one.message) for one in caught} <= known
    assert torch.equal(torch.cat([part.x for part in given]), case.x), "somebody wrote to the inputs"
    return result


def assert_agree(case: Case, outcomes: dict[str, Outcome]) -> None:
    first, *others = outcomes.values()
    if case.refused is not None:
        assert isinstance(first, str), f"trained: {first}"
        assert re.search(case.refused, first), first
    else:
        assert not isinstance(first, str), first
    for name, other in zip(list(outcomes)[1:], others, strict=True):
        if isinstance(first, str) or isinstance(other, str):
            assert other == first, name
        else:
            assert other == pytest.approx(first, rel=2e-3, abs=1e-4), name


@torch.no_grad()
def assert_scores(case: Case, model: nn.Module, examples: Split, stated: float) -> None:
    """The model that is returned, run by itself, is as good as the history says."""
    assert not any(module.training for module in model.modules() if list(module.parameters(recurse=False)))
    found = float(case.loss(model(examples.x.clone()), examples.y))
    assert found == pytest.approx(stated, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", ZOO)
def test_searches_train_the_same_in_every_engine(name: str) -> None:
    case = ZOO[name]

    def trained(engine: Literal["batched", "sequential", "reference"]) -> Callable[..., list[float]]:
        def run(examples: Split, held_out: Split) -> list[float]:
            task, data = own_task(case.make, case.loss, None, examples, held_out, batch_size=8)
            results: list[TrainingResult] = (
                train_sequential(task, data, RULES, PLAN, keep_losses=True)
                if engine == "reference"
                else train(task, data, RULES, PLAN, engine=engine, keep_losses=True)
            )
            assert {(result.outcome, result.reason) for result in results} == {("ok", "")}
            return [number for result in results for number in (*result.losses, result.eval_loss)]

        return run

    # The reference is a plain loop, which runs things that no population can.
    reference: tuple[Any, ...] = ("reference",) if case.refused is None else ()
    outcomes = {engine: outcome(case, trained(engine)) for engine in (*reference, "batched", "sequential")}
    assert_agree(case, outcomes)
    assert outcome(case, trained("batched")) == outcomes["batched"], "another time, other numbers"


def converted(case: Case) -> Split:
    """Validation examples as a trainer sees them."""
    return own_task(case.make, case.loss, None, *parts(case))[1].validation


@pytest.mark.parametrize("name", ZOO)
def test_gadam_trains_the_same_in_every_engine(name: str) -> None:
    case = ZOO[name]

    def fitted(engine: Any) -> Callable[..., list[float]]:
        def run(examples: Split, held_out: Split) -> list[float]:
            gadam = Gadam(
                case.make, case.loss, population=3, generations=1, steps=2, batch_size=8, engine=engine
            )
            model = gadam.fit(examples, held_out)
            (record,) = gadam.history_
            assert_scores(case, model, converted(case), record["best"])
            return [record["best"], *record["parents"]["loss"], *record["children"]["loss"]]

        return run

    assert_agree(case, {name: outcome(case, fitted(name)) for name in ("reference", "batched", "sequential")})


@pytest.mark.parametrize("name", ZOO)
def test_population_based_training_is_the_same_in_both_engines(name: str) -> None:
    case = ZOO[name]

    def fitted(engine: str) -> Callable[..., list[float]]:
        def run(examples: Split, held_out: Split) -> list[float]:
            pbt = PopulationBasedTraining(
                case.make, SPACE, case.loss, population=4, generations=2, steps=1, batch_size=8,
                engine=engine, fom="loss",
            )  # fmt: skip
            model = pbt.fit(examples, held_out)
            best = [record["best"] for record in pbt.history_]
            assert_scores(case, model, converted(case), min(best))
            return best

        return run

    assert_agree(case, {name: outcome(case, fitted(name)) for name in ("batched", "sequential")})


@pytest.mark.parametrize("name", ZOO)
def test_genetic_training_scores_what_it_returns_or_says_what_it_cannot_encode(name: str) -> None:
    case = ZOO[name]

    def fitness(outputs: Tensor, targets: Tensor) -> Tensor:
        return -case.loss(outputs, targets)  # type: ignore[no-any-return]

    def run(examples: Split, held_out: Split) -> list[float]:
        trainer = GeneticTrainer(
            case.make, fitness=fitness, selection="tournament", population=4, generations=2, seed=1
        )
        examples = own_task(case.make, case.loss, None, examples, held_out)[1].train
        model = trainer.fit(examples)
        stated = -trainer.history_[-1]["best"]
        assert_scores(case, model, examples, stated)
        return [stated]

    result = outcome(case, run)
    if encoded(case.make()) and case.refused is None:
        assert not isinstance(result, str), result
    elif not encoded(case.make()):
        assert isinstance(result, str)


def encoded(model: nn.Module) -> bool:
    """Whether all that is trained are weights and biases of convolutions and linear layers."""
    trained = [(m, dict(m.named_parameters(recurse=False))) for m in model.modules()]
    trained = [(m, own) for m, own in trained if any(p.requires_grad for p in own.values())]
    return bool(trained) and all(
        type(m) in (nn.Linear, nn.Conv2d) and set(own) <= {"weight", "bias"} for m, own in trained
    )
