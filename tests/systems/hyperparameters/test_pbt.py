"""Population-based training: what a child takes from whom, repeatable schedules, exact resumption."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.evolution.stages import evolve
from evoopt.jobs.phase_trainer import PhaseTrainer
from evoopt.jobs.phase_worker import Examples, PhaseSetup
from evoopt.systems.hyperparameters.breeding import SCHEMES, Birth, Parent
from evoopt.systems.hyperparameters.config import PbtSection
from evoopt.systems.hyperparameters.hyperparameter_space import Hyperparameters, HyperparameterSpace
from evoopt.systems.hyperparameters.pbt_scheme import PbtScheme
from evoopt.systems.hyperparameters.population_based_training import PopulationBasedTraining
from evoopt.systems.hyperparameters.schedules import Schedule, replay
from evoopt.systems.model_runs import Sizes
from evoopt.tasks.own_data import own_task
from evoopt.tasks.task import Split, Task
from evoopt.training.member_hyperparameters import set_hyperparameters, update_rule
from evoopt.training.members import Members
from evoopt.training.phase import PhaseEngine, train_phase
from evoopt.training.plan import PhasePlan
from evoopt.training.population import ModelPopulation
from evoopt.training.streams import minibatches

LR = {"min": 1e-4, "max": 0.3, "default": 1e-2, "scale": "log"}
SPACE = HyperparameterSpace.parse(
    {"lr": LR, "weight_decay": {"min": 1e-6, "max": 1.0, "default": 1e-3, "scale": "log"}}
)
DROPOUT = HyperparameterSpace.parse({"lr": LR, "dropout": {"min": 0, "max": 0.9, "default": 0.2}})


class Squashing(nn.Module):
    """Has a buffer that is a hyperparameter, and is no nn.Sequential."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(10, 9), nn.Linear(9, 4)
        self.drop = nn.Dropout(0.1)
        self.register_buffer("q", torch.tensor(0.5))
        self.register_buffer("routings", torch.tensor(3))

    def forward(self, x: Tensor) -> Tensor:
        h = self.inner(x.flatten(1))
        for step in range(4):
            h = torch.where(self.routings > step, h / (self.q + h.abs()), h)
        return self.outer(self.drop(h))


def dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(10, 9), nn.ReLU(), nn.Dropout(0.2), nn.Linear(9, 4))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout2d(0.2), nn.Flatten(), nn.Linear(27, 4),
    )  # fmt: skip


MODELS = {
    "dense": (dense, (10,)),
    "convolutional": (convolutional, (1, 7, 7)),
    "squashing": (Squashing, (10,)),
}


def problem(name: str = "dense", batch: int = 7) -> tuple[Task, Any]:
    make, shape = MODELS[name]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(140, *shape, generator=generator)
    return own_task(make, train=(x, x.flatten(1)[:, :4].argmax(dim=1)), batch_size=batch)


def trainer_of(task: Task, data: Any, engine: PhaseEngine = "sequential") -> PhaseTrainer:
    return PhaseTrainer.here(PhaseSetup(task, data), 4, engine)


def scheme_of(
    name: str = "dense",
    space: HyperparameterSpace = SPACE,
    engine: PhaseEngine = "sequential",
    breeder: Any = None,
    steps: int | None = None,
    **settings: Any,
) -> PbtScheme:
    task, data = problem(name)
    section = PbtSection(**{"population": 6, "generations": 4, "mutation_rate": 0.3, **settings})
    sizes = Sizes(len(data.train), len(data.validation), task.batch_size)
    return PbtScheme(task, sizes, section, space, trainer_of(task, data, engine), steps, breeder)


@dataclass
class Spying:
    """Three-parent breeding from given hyperparameters that remembers the members before and after."""

    genomes: Sequence[Hyperparameters]
    births: list[Birth] = field(default_factory=list)

    def first(self, size: int, rng: np.random.Generator) -> list[Hyperparameters]:
        return list(self.genomes)

    def breed(self, pool: Sequence[Parent], size: int, rng: np.random.Generator) -> list[Birth]:
        section = PbtSection(sigma=0.1, winsorise=0.0)
        self.births = SCHEMES["three_parent"](section, SPACE).breed(pool, size, rng)
        return self.births


def test_a_child_has_the_weights_moments_and_buffers_of_alpha_to_the_last_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spy = Spying([SPACE.genome({"lr": 1e-3 * 2**k}) for k in range(6)])
    scheme = scheme_of("convolutional", breeder=spy)
    trained: list[Members] = []
    original = PhaseTrainer.train

    def remember(self: PhaseTrainer, *args: Any) -> Any:
        found = original(self, *args)
        trained.append(found[0])
        return found

    monkeypatch.setattr(PhaseTrainer, "train", remember)
    scheme.advance()
    alphas = [birth.parents[2] for birth in spy.births]
    assert len(set(alphas)) > 1
    assert any(birth.parents[0] != birth.parents[2] for birth in spy.births)
    before, after = trained[0].tensors(), scheme.members.tensors()
    assert {"weights", "m", "v", "steps", "state.1.running_mean", "rates.4"} <= set(before)
    assert before["m"].any()
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name][alphas]), name
    lr = [rule.lr for rule in trained[0].rules]
    assert lr == pytest.approx([1e-3 * 2**k for k in range(6)])


@pytest.mark.parametrize("engine", ["batched", "sequential", "reference"])
def test_hyperparameters_reach_rule_dropout_and_buffers(engine: PhaseEngine) -> None:
    task, data = problem("squashing")
    names = {"lr": 0.02, "momentum": 0.8, "beta2": 0.99, "dropout": 0.5, "q": 1.25, "routings": 2}
    population = ModelPopulation.from_models([Squashing(), Squashing()])
    members = Members.fresh(population, [update_rule({})] * 2)
    set_hyperparameters(members, [names, {**names, "q": 0.75, "routings": 4, "dropout": 0.0}])
    assert (members.rules[0].lr, members.rules[0].beta1, members.rules[0].beta2) == (0.02, 0.8, 0.99)
    assert population.state["q"].tolist() == [1.25, 0.75]
    assert population.state["routings"].tolist() == [2, 4]
    assert population.rates["drop"].tolist() == [0.5, 0.0]
    alone = members[[1]]
    plan = PhasePlan(8, 7, (3,))
    train_phase(task, data.train, members, plan, engine)
    train_phase(task, data.train, alone, plan, engine)
    weights = members.population.weights
    torch.testing.assert_close(weights[1:], alone.population.weights, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(weights[0], weights[1], atol=1e-2)


def test_sgd_with_momentum_is_that_of_torch() -> None:
    task, data = problem()
    model = nn.Sequential(nn.Flatten(), nn.Linear(10, 4)).double()
    members = Members.fresh(ModelPopulation.from_models([model]), [update_rule({})])
    set_hyperparameters(members, [{"optimizer": "sgd", "lr": 0.05, "momentum": 0.7}], "adam")
    train, plan = Split(data.train.x.double(), data.train.y), PhasePlan(12, 7, (3,))
    train_phase(task, train, members, plan)
    sgd = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.7)
    for index in minibatches(len(train), plan.single(3)):
        sgd.zero_grad()
        task.loss(model(train.x[index]), train.y[index]).backward()
        sgd.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            members.population.parameters[name][0], parameter.detach(), rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("name", MODELS)
def test_the_schedule_with_the_runs_own_seed_gives_the_winner_bit_for_bit(name: str) -> None:
    scheme = scheme_of(name, DROPOUT, "reference", population=4)
    records = evolve(scheme)
    schedule, winner = (
        Schedule.from_json(json.loads(json.dumps(scheme.schedule().to_json()))),
        scheme.winner(),
    )
    values = {number: v for r in records for number, v in zip(r["ids"], r["hyperparameters"], strict=True)}
    assert list(schedule.values) == [values[number] for number in winner["weight_lineage"]]
    assert len({json.dumps(v) for v in schedule.values}) > 1, "the schedule changes on the way"
    task, data = problem(name)
    again = replay(schedule, [1, 42], task, trainer_of(task, data, "reference"))
    best = scheme.best_model().state_dict()
    for key, tensor in again.members.population.member(1).state_dict().items():
        assert torch.equal(tensor, best[key]), key
    assert 1 - again.metrics[-1][1] == winner["fom"]
    assert not torch.equal(again.members.population.weights[0], again.members.population.weights[1])
    assert len(again.losses) == len(schedule)


@pytest.mark.parametrize("engine", ["batched", "sequential"])
def test_a_replay_by_the_fast_engines_agrees_up_to_rounding(engine: PhaseEngine) -> None:
    scheme = scheme_of("dense", DROPOUT, engine)
    evolve(scheme)
    task, data = problem()
    again = replay(scheme.schedule(), [42, 1], task, trainer_of(task, data, engine))
    expected = dict(scheme.best_model().named_parameters())
    for key, stack in again.members.population.parameters.items():
        torch.testing.assert_close(stack[0], expected[key].detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("engine", ["batched", "sequential"])
def test_an_interrupted_run_goes_on_exactly(engine: PhaseEngine) -> None:
    settings: dict[str, Any] = {"engine": engine, "population": 4, "demes": 2, "steps": 4, "generations": 3}
    whole = scheme_of("convolutional", **settings)
    expected = [whole.advance() for _ in range(3)]
    for stop in range(4):
        first = scheme_of("convolutional", **settings)
        for _ in range(stop):
            first.advance()
        state, tensors = first.snapshot()
        rest = scheme_of("convolutional", **settings)
        rest.restore(json.loads(json.dumps(state)), {name: t.clone() for name, t in tensors.items()})
        stages = []
        while not rest.finished:
            stages.append(rest.advance())
        assert [s.record for s in stages] == [s.record for s in expected[stop:]]
        assert [s.created for s in stages] == [s.created for s in expected[stop:]]
        assert rest.winner() == whole.winner()
        for name, tensor in whole.snapshot()[1].items():
            assert torch.equal(tensor, rest.snapshot()[1][name]), name
        model, same = whole.best_model().state_dict(), rest.best_model().state_dict()
        assert all(torch.equal(model[key], same[key]) for key in model)


def test_every_individual_is_created_once_and_the_best_is_not_lost() -> None:
    scheme = scheme_of()
    stages = [scheme.advance() for _ in range(4)]
    ids = [ind.id for stage in stages for ind in stage.created]
    assert ids == list(range(24))
    foms = [fom for stage in stages for fom in stage.record["fom"]]  # type: ignore[index]
    assert scheme.winner()["fom"] == min(foms)
    _, data = problem()
    x, y = data.validation.x, data.validation.y
    error = (scheme.best_model().eval()(x).argmax(dim=1) != y).float().mean()
    assert float(error) == pytest.approx(min(foms), abs=1e-6)
    assert scheme.winner()["steps"] == 4 * 6 * (112 // 7)


def test_a_diverged_member_is_no_parent_and_the_others_go_on() -> None:
    wild = HyperparameterSpace.parse({"lr": {"min": 1e-4, "max": 1e30, "default": 1e-2}})
    spy = Spying([wild.genome({"lr": 1e30 if k in (1, 4) else 1e-2}) for k in range(6)])
    spy.breed = SCHEMES["three_parent"](PbtSection(), wild).breed  # type: ignore[method-assign]
    scheme = scheme_of(space=wild, breeder=spy, optimizer="sgd")
    record = scheme.advance().record
    assert record is not None
    assert [fom is None for fom in record["fom"]] == [False, True, False, False, True, False]
    assert record["failed"] == 2
    assert torch.isfinite(scheme.members.population.weights).all()
    second = scheme.advance().record
    assert second is not None
    assert not {1, 4} & {parent for row in second["lineage"] for parent in row[:3]}
    json.dumps(second, allow_nan=False)
    spy.genomes = [wild.genome({"lr": 1e30})] * 6
    with pytest.raises(EvooptError, match="all 6 members have diverged"):
        scheme_of(space=wild, breeder=spy, optimizer="sgd").advance()


@pytest.mark.parametrize("fom", ["loss", "perplexity"])
def test_other_figures_of_merit(fom: str) -> None:
    scheme = scheme_of(fom=fom, generations=1)
    record = scheme.advance().record
    assert record is not None
    task, data = problem()
    losses, _ = trainer_of(task, data).score(scheme.members, [Examples("validation")])[0]
    assert record["fom"] == (losses if fom == "loss" else [math.exp(loss) for loss in losses])


def test_a_hyperparameter_without_meaning_is_refused() -> None:
    space = HyperparameterSpace.parse({"dense": {"type": "integer", "min": 4, "max": 64, "default": 8}})
    with pytest.raises(
        EvooptError, match=r"'dense' means nothing to this model while it trains.*lr, .*dropout"
    ):
        scheme_of(space=space)
    kind = HyperparameterSpace.parse({"q": {"choices": ["soft", "hard"], "default": "soft"}})
    with pytest.raises(EvooptError, match="'q' must be a number, not 'soft'"):
        scheme_of("squashing", space=kind).advance()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "expected a JSON object of kind 'schedule'"),
        ({"kind": "schedule", "version": 99}, "version 99 is not supported"),
        ({"kind": "schedule", "version": 1}, "needs values by generation"),
        ({"kind": "schedule", "version": 1, "values": 3}, "needs values by generation"),
    ],
)
def test_what_is_no_schedule_is_refused(data: Any, message: str) -> None:
    with pytest.raises(EvooptError, match=message):
        Schedule.from_json(data)


def test_ones_own_model_and_data() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 10, generator=generator)
    y = x[:, :4].argmax(dim=1)
    pbt = PopulationBasedTraining(
        dense, {"lr": LR}, population=6, generations=4, batch_size=16, scheme="truncation"
    )
    with pytest.raises(EvooptError, match="call fit first"):
        pbt.replay([1])
    model = pbt.fit((x, y))
    assert not model.training
    assert float((model(x).argmax(dim=1) == y).float().mean()) > 0.7
    assert pbt.history_[-1]["best"] < pbt.history_[0]["best"]
    assert pbt.schedule_ is not None
    assert 0 < len(pbt.schedule_) <= 4
    assert len(pbt.replay([1, 2]).losses[0]) == 2
    target = x[:, :1] * 2
    regression = PopulationBasedTraining(
        lambda: nn.Linear(10, 1), {"lr": LR}, nn.functional.mse_loss, population=4, generations=2, steps=30
    )
    regression.fit(torch.utils.data.TensorDataset(x, target), (x[:50], target[:50]))
    assert regression.history_[-1]["best"] < 4
    with pytest.raises(EvooptError, match=r"Did you mean 'recombination.mutation_rate'"):
        PopulationBasedTraining(dense, {"lr": LR}, mutationrate=0.1)
