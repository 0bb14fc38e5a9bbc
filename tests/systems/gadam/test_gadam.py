"""GADAM as a whole: what it must equal, what it must never do, and that it can be stopped anywhere."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.evolution.stages import Stage, evolve
from evoopt.execution import make_executor
from evoopt.jobs.phase_trainer import PhaseTrainer
from evoopt.jobs.phase_worker import PhaseSetup, make_phase_worker
from evoopt.systems.gadam.config import GadamSection
from evoopt.systems.gadam.gadam import Gadam
from evoopt.systems.gadam.scheme import GadamScheme
from evoopt.systems.gadam.unit_model import UnitModel
from evoopt.systems.model_runs import Sizes
from evoopt.tasks.own_data import own_task
from evoopt.tasks.task import Task, TaskData
from evoopt.training.phase import PhaseEngine
from evoopt.training.plan import PhasePlan, derive_seed
from evoopt.training.streams import initial_model, minibatches


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 3))


def plain_model() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


def problem(model: Any = make_model) -> tuple[Task, TaskData]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(120, 5, generator=generator)
    y = (x @ torch.randn(5, 3, generator=generator)).argmax(dim=1)
    return own_task(model, train=(x[:80], y[:80]), validation=(x[80:], y[80:]), batch_size=16)


def scheme(
    model: Any = make_model,
    engine: PhaseEngine = "batched",
    steps: int = 6,
    trainer: Any = None,
    **settings: Any,
) -> GadamScheme:
    task, data = problem(model)
    section = GadamSection(**{"population": 4, "generations": 3, "validation_size": 30, **settings})
    trainer = trainer or PhaseTrainer.here(PhaseSetup(task, data), 2, engine)
    return GadamScheme(task, Sizes(80, 40, 16), section, steps, trainer)


def finish(one: GadamScheme) -> list[Stage]:
    stages = []
    while not one.finished:
        stages.append(one.advance())
    return stages


@pytest.mark.parametrize("moments", ["reset", "inherit"])
def test_one_model_without_variation_is_torch_adam_bit_for_bit(moments: str) -> None:
    one = scheme(
        plain_model, "reference", steps=10, population=1, generations=1, mutation_rate=0.0, crossover=False,
        moments=moments, keep_untrained=False,
    )  # fmt: skip
    task, data = problem(plain_model)
    model = initial_model(task, derive_seed(42, 301, 0, 0))
    adam = torch.optim.Adam(model.parameters())
    weights = []
    for phase in (0, 1):
        if moments == "reset":
            adam = torch.optim.Adam(model.parameters())
        for index in minibatches(80, PhasePlan(10, 16, (0,)).single(derive_seed(42, 302, 0, phase, 0))):
            adam.zero_grad()
            F.cross_entropy(model(data.train.x[index]), data.train.y[index]).backward()
            adam.step()
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    finish(one)
    best = torch.cat([p.detach().flatten() for p in one.best_model().parameters()])
    child_won = one.winner()["id"] == 1
    assert torch.equal(best, weights[1] if child_won else weights[0])
    assert child_won, "ten more steps of Adam lower the loss on this problem"


def test_two_unit_models_never_mutate() -> None:
    stages = finish(scheme(population=2, generations=6, mutation_rate=1.0))
    children = [ind for stage in stages for ind in stage.created if ind.parents]
    distinct = [ind for ind in children if ind.parents[0] != ind.parents[1]]
    assert len(children) == 12
    assert distinct
    assert all(ind.genome.mutation_rate == 0 for ind in distinct)


def test_the_best_loss_on_a_fixed_validation_batch_never_rises() -> None:
    # A learning rate at which training often makes a model worse.
    stages = finish(scheme(generations=8, validation_size=40, lr=0.3))
    best = [stage.record["best"] for stage in stages if stage.record is not None]
    assert len(best) == 8
    assert all(b <= a for a, b in itertools.pairwise(best))
    literal = finish(scheme(generations=8, validation_size=40, lr=0.3, keep_untrained=False))
    published = [stage.record["best"] for stage in literal if stage.record is not None]
    assert any(b > a for a, b in itertools.pairwise(published)), "not promised"


def test_children_have_their_parents_buffers_and_are_counted() -> None:
    one = scheme(crossover=False, mutation_rate=0.0, moments="inherit")
    one.advance()
    trained = one._trained
    assert trained is not None
    losses = [3.0, 1.0, 2.0, 4.0]
    children, born = one._children(trained, losses, [(0, 1), (2, 3), (1, 1), (3, 0)])
    fitter = [1, 2, 1, 0]
    for name, tensor in children.tensors().items():
        assert torch.equal(tensor, trained[fitter].tensors()[name]), name
    assert [ind.parents for ind in born] == [(0, 1), (2, 3), (1, 1), (3, 0)]


def test_reinitialised_children_are_new_models() -> None:
    one = scheme(children="reinitialised")
    one.advance()
    assert one._trained is not None
    children, born = one._children(one._trained, [1.0, 2.0, 3.0, 4.0], [(0, 1), (1, 2), (2, 3), (0, 0)])
    assert [(ind.id, ind.born, ind.parents, ind.genome) for ind in born] == [
        (new, 1, (), UnitModel()) for new in range(4, 8)
    ]
    parents = torch.cat([one._trained.population.weights, one.members.population.weights])
    distances = torch.cdist(children.population.weights, parents)
    assert float(distances.min()) > 0.5


def test_theta_stops_a_run_whose_loss_stands_still() -> None:
    stages = finish(
        scheme(
            population=1,
            generations=50,
            lr=1e-9,
            theta=1e-3,
            mutation_rate=0.0,
            crossover=False,
            validation_size=40,
        )
    )
    assert len(stages) == 4, "two generations of two phases: the first has nothing to be compared with"
    assert stages[-1].record is not None
    assert stages[-1].record["stopped"]


def test_a_generation_is_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """g pairs, minibatches of one's own, a new shared validation batch, and the g best of both survive."""
    seeds, batches, drawn = [], [], []
    train, score = PhaseTrainer.train, PhaseTrainer.score

    def trained(self: Any, members: Any, plan: PhasePlan, *rest: Any) -> Any:
        seeds.append(plan.seeds)
        return train(self, members, plan, *rest)

    def scored(self: Any, members: Any, examples: Any) -> Any:
        batches.extend((len(members), one.part, one.indices) for one in examples)
        return score(self, members, examples)

    monkeypatch.setattr(PhaseTrainer, "train", trained)
    monkeypatch.setattr(PhaseTrainer, "score", scored)
    one = scheme(population=5, generations=3, keep_untrained=False, lr=0.05)
    for stage in finish(one):
        if stage.record is not None:
            losses = [*stage.record["parents"]["loss"], *stage.record["children"]["loss"]]
            assert len(losses) == 10
            drawn.append((sorted(losses)[:5], stage.record))
    assert all(record["mean"] == pytest.approx(np.mean(best)) for best, record in drawn)
    assert one._losses == drawn[-1][0]
    assert len({seed for own in seeds for seed in own}) == 3 * 2 * 5
    assert [(count, part) for count, part, _ in batches] == [(5, "validation"), (10, "validation")] * 3
    assert len({indices for _, _, indices in batches}) == 6
    assert all(len(set(indices)) == 30 for _, _, indices in batches)


def test_a_run_stops_when_the_sum_of_losses_changes_by_no_more_than_theta() -> None:
    settings: dict[str, Any] = {"generations": 9, "lr": 0.05, "validation_size": 40, "moments": "inherit"}
    records = [stage.record for stage in finish(scheme(**settings)) if stage.record is not None]
    sums = [4 * record["mean"] for record in records]
    changes = [abs(b - a) for a, b in itertools.pairwise(sums)]
    smallest = min(change for change in changes if change > 0)
    for theta in (1.001 * smallest, 0.999 * smallest):
        small = [change <= theta for change in changes]  # some may be 0, if the same models stay
        expected = [False, *small[: small.index(True) + 1]] if any(small) else [False] * 9
        stages = finish(scheme(**settings, theta=theta))
        assert [stage.record["stopped"] for stage in stages if stage.record is not None] == expected


@pytest.mark.parametrize("stop", range(1, 6))
@pytest.mark.parametrize("moments", ["reset", "inherit"])
def test_a_run_restored_after_any_stage_ends_with_the_same_bytes(stop: int, moments: str) -> None:
    whole, first, second = (scheme(moments=moments) for _ in range(3))
    records = [stage.record for stage in finish(whole)]
    before = [first.advance().record for _ in range(stop)]
    state, tensors = first.snapshot()
    second.restore(state, {name: t.clone() for name, t in tensors.items()})
    after = [stage.record for stage in finish(second)]
    assert before + after == records
    for name, tensor in whole.members.tensors().items():
        assert torch.equal(tensor, second.members.tensors()[name]), name


def test_chunks_of_any_size_give_the_same_bytes() -> None:
    task, data = problem(plain_model)
    found = []
    with make_executor("serial", make_phase_worker, PhaseSetup(task, data)) as executor:
        for size in (2, 3):
            one = scheme(plain_model, trainer=PhaseTrainer.on(executor, size))
            finish(one)
            found.append(one.members.population.weights)
    assert torch.equal(*found)


class Point(nn.Module):
    """Two weights and nothing else; the loss is a function of them."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.w.expand(len(x), 2)


def basins(outputs: Tensor, targets: Tensor) -> Tensor:
    """Four basins at (±1, ±1): f = 0 in that of (1, 1), 0.4 or more in the others."""
    w = outputs.mean(dim=0)
    return (
        ((w * w - 1) ** 2).sum() + (torch.tanh(4 * (1 - w)) * 0.25 * (1 - w).abs()).sum() + 0 * targets.sum()
    )


def test_crossover_reaches_the_basin_that_neither_parent_reaches() -> None:
    data = (torch.zeros(8, 1), torch.zeros(8))
    task, parts = own_task(Point, basins, train=data, validation=data, batch_size=8)
    starts = torch.tensor([[1.3, -0.8], [-0.7, 1.2]])
    settings = {"population": 2, "mutation_rate": 0.0, "lr": 0.05, "moments": "reset"}

    def run(**changes: Any) -> float:
        section = GadamSection(**{**settings, "generations": 3, **changes})
        trainer = PhaseTrainer.here(PhaseSetup(task, parts), 2)
        one = GadamScheme(task, Sizes(8, 8, 8), section, 60, trainer)
        one.members.population.weights.copy_(one.members.population.architecture.layout.spread(starts))
        finish(one)
        return one.winner()["loss"]

    alone = run(crossover=False)
    crossed = min(run(seed=seed) for seed in range(3))
    assert alone > 0.4, "both parents stay in their local minima"
    assert crossed < 1e-3, "w1 of one and w2 of the other lie in the global basin"


def test_fit_returns_a_better_model_and_tells_how() -> None:
    task, data = problem()
    trainer = Gadam(make_model, population=4, generations=3, steps=40, batch_size=16, lr=0.01, seed=1)
    model = trainer.fit((data.train.x, data.train.y), (data.validation.x, data.validation.y))
    untrained = F.cross_entropy(initial_model(task, 0).eval()(data.validation.x), data.validation.y)
    assert not model.training
    with torch.no_grad():
        trained = F.cross_entropy(model(data.validation.x), data.validation.y)
    assert float(trained) < 0.6 * float(untrained.detach())
    assert [record["generation"] for record in trainer.history_] == [0, 1, 2]
    assert trainer.history_[-1]["steps"] == 2 * 4 * 40 * 3


def test_what_cannot_work_is_said_in_one_line() -> None:
    x, y = torch.randn(30, 5), torch.randint(0, 3, (30,))

    def fit(
        train: Any = (x, y), loss: Any = F.cross_entropy, model: Any = plain_model, **settings: Any
    ) -> Any:
        return Gadam(model, loss, **{"population": 2, "generations": 1, "steps": 2, **settings}).fit(train)

    with pytest.raises(EvooptError, match="population 1 has no two parents"):
        fit(population=1)
    with pytest.raises(EvooptError, match="training data is empty"):
        fit((x[:0], y[:0]))
    with pytest.raises(EvooptError, match="one target for each input"):
        fit((x, y[:7]))
    with pytest.raises(EvooptError, match="loss must be a 0-dim tensor"):
        fit(loss=lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="none"))
    with pytest.raises(EvooptError, match=r"module '0' \(Linear\) fails"):
        fit((torch.randn(30, 4), y))
    with pytest.raises(EvooptError, match=r"unknown setting in Gadam: 'gadam\.mutation_rte'"):
        fit(mutation_rte=0.1)
    with pytest.raises(EvooptError, match="every model diverged"):
        fit(lr=1e30, keep_untrained=False)


def test_what_fails_in_the_middle_of_a_training_is_said_in_one_line() -> None:
    x, y = torch.randn(60, 5), torch.arange(60) // 20

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if bool((targets == 2).any()):  # of which the first examples have none
            raise ValueError("class 2")
        return F.cross_entropy(outputs, targets)

    gadam = Gadam(plain_model, loss, population=2, generations=1, steps=5, batch_size=16)
    with pytest.raises(EvooptError, match=r"^training a chunk of members failed: ValueError: class 2$"):
        gadam.fit((x, y), (x[:9], y[:9]))


def test_a_diverged_model_is_worst_and_never_survives_better_ones() -> None:
    one = scheme(generations=1)
    one.members.population.weights[2] = math.nan
    stages = finish(one)
    record = stages[-1].record
    assert record is not None
    assert record["parents"]["loss"][2] is None
    assert all(np.isfinite(one._losses))
    assert 2 not in one._ids


def test_the_average_is_the_mean_of_weights_and_running_statistics_of_sound_models() -> None:
    one = scheme(generations=1)
    finish(one)
    one._losses[1] = math.nan
    models = [one.members.population.member(k).state_dict() for k in (0, 2, 3)]
    for name, own in one.average_model().state_dict().items():
        first, *rest = (model[name] for model in models)
        wanted = sum(rest, first) / 3 if own.is_floating_point() else first
        torch.testing.assert_close(own, wanted, msg=name)


def test_history_is_empty_for_a_finished_scheme() -> None:
    one = scheme(generations=1)
    assert len(evolve(one)) == 1
    assert evolve(one) == []
