"""Phases of training: every engine does what the plain loop does, and a phase can be cut in two."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoopt.errors import EvooptError
from evoopt.optim.presets import PRESETS
from evoopt.tasks.task import Split, Task
from evoopt.training.member_hyperparameters import set_hyperparameters
from evoopt.training.members import Members, joined
from evoopt.training.phase import PhaseEngine, train_phase
from evoopt.training.plan import PhasePlan
from evoopt.training.population import ModelPopulation
from evoopt.training.streams import minibatches


class Strange(nn.Module):
    """Not an `nn.Sequential`: runs by vmap."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.drop = nn.Linear(16, 12), nn.Linear(12, 4), nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.drop(torch.tanh(self.first(x.flatten(1)))) * 2)


MODELS = {
    "mlp": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 4)),
    # No bias before BatchNorm: its gradient is rounding noise, which Adam would blow up to full steps.
    "cnn": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout2d(0.2), nn.Flatten(), nn.Linear(12, 4),
    ),
    "vmap": Strange,
}  # fmt: skip


def problem(name: str) -> tuple[Task, Split, Members]:
    torch.manual_seed(1)
    train = Split(torch.randn(50, 1, 4, 4, dtype=torch.float64), torch.randint(0, 4, (50,)))
    models = [MODELS[name]().double() for _ in range(4)]
    task = Task(name, MODELS[name], lambda options: None, batch_size=8)  # type: ignore[arg-type,return-value]
    rules = [PRESETS["adam"], replace(PRESETS["adam"], lr=0.01), PRESETS["marfinetz2025"], PRESETS["lion"]]
    return task, train, Members.fresh(ModelPopulation.from_models(models), rules)


@pytest.mark.parametrize("engine", ["batched", "sequential"])
@pytest.mark.parametrize("seeds", [(5,), (5, 6, 7, 8)], ids=["shared", "own"])
@pytest.mark.parametrize("name", MODELS)
def test_engines_do_what_the_plain_loop_does(name: str, seeds: tuple[int, ...], engine: PhaseEngine) -> None:
    task, train, members = problem(name)
    expected, plan = members.copy(), PhasePlan(12, 8, seeds, total_steps=24)
    for _ in range(2):  # the second time the moments are there already
        losses = train_phase(task, train, members, plan, engine)
        reference = train_phase(task, train, expected, plan, "reference")
        torch.testing.assert_close(losses, reference, rtol=1e-9, atol=1e-9)
    actual, wanted = members.tensors(), expected.tensors()
    # A moment that no rule of the member reads is not kept by its own optimizer.
    for name_, tensor in actual.items():
        if name_ not in ("m", "v"):
            torch.testing.assert_close(tensor, wanted[name_], rtol=1e-9, atol=1e-9, msg=name_)
    for kind in ("m", "v"):
        torch.testing.assert_close(actual[kind][:2], wanted[kind][:2], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("engine", ["batched", "sequential", "reference"])
def test_moments_that_a_later_rule_reads_do_not_depend_on_company(engine: PhaseEngine) -> None:
    task, train, members = problem("mlp")
    still, heavy = ({"lr": 0.1, "momentum": momentum} for momentum in (0.0, 0.9))
    alone = members[[0]]
    for momenta in ([still, heavy, heavy, heavy], [heavy] * 4):
        for some in (members, alone):
            set_hyperparameters(some, momenta[: len(some)], "sgd")
            train_phase(task, train, some, PhasePlan(4, 8, (5,)), engine)
    torch.testing.assert_close(
        alone.population.weights[0], members.population.weights[0], rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("engine", ["batched", "sequential", "reference"])
def test_another_optimizer_begins_with_an_empty_state(engine: PhaseEngine) -> None:
    task, train, members = problem("mlp")
    sgd, adam = ({"optimizer": name, "lr": lr} for name, lr in (("sgd", 0.1), ("adam", 1e-3)))
    set_hyperparameters(members, [sgd, sgd, sgd, adam])
    train_phase(task, train, members, PhasePlan(4, 8, (5,)), engine)
    fresh = members.copy().reset()
    for some in (members, fresh):
        set_hyperparameters(some, [adam] * 4)
        train_phase(task, train, some, PhasePlan(4, 8, (6,)), engine)
    assert members.steps == (4, 4, 4, 8)
    own, anew = members.population.weights, fresh.population.weights
    torch.testing.assert_close(own[:3], anew[:3], rtol=1e-9, atol=1e-9)
    assert not torch.allclose(own[3], anew[3], rtol=1e-3)


def test_own_seeds_give_own_minibatches_and_one_seed_the_same() -> None:
    task, train, members = problem("mlp")
    alike = replace(members[[0, 0, 0]], rules=(PRESETS["adam"],) * 3)
    shared, separate = alike.copy(), alike.copy()
    train_phase(task, train, shared, PhasePlan(3, 8, (5,)))
    train_phase(task, train, separate, PhasePlan(3, 8, (5, 6, 5)))
    weights = separate.population.weights
    assert torch.equal(shared.population.weights[0], shared.population.weights[1])
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])
    torch.testing.assert_close(weights[0], shared.population.weights[0], rtol=1e-12, atol=1e-12)


def test_the_reference_is_torch_adam_bit_for_bit() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    train = Split(torch.randn(8, 1, 4, 4), torch.randint(0, 4, (8,)))
    members = Members.fresh(ModelPopulation.from_models([model]), [PRESETS["adam"]])
    task = Task("t", lambda: model, lambda options: None, batch_size=8)  # type: ignore[arg-type,return-value]
    adam = torch.optim.Adam(model.parameters())
    plan = PhasePlan(20, 8, (0,))
    for index in minibatches(8, plan.single(0)):
        adam.zero_grad()
        F.cross_entropy(model(train.x[index]), train.y[index]).backward()
        adam.step()
    train_phase(task, train, members, plan, "reference")
    for name, parameter in model.named_parameters():
        assert torch.equal(members.population.parameters[name][0], parameter)


def test_members_go_through_tensors_and_are_joined_and_picked() -> None:
    task, train, members = problem("cnn")
    train_phase(task, train, members, PhasePlan(4, 8, (1, 2, 3, 4)))
    again = members[[0]].with_tensors(members.tensors(), members.rules)
    for name, tensor in members.tensors().items():
        assert torch.equal(again.tensors()[name], tensor), name
    both = joined([members[[2, 0]], members[[1]]])
    assert torch.equal(both.population.weights, members.population.weights[[2, 0, 1]])
    assert both.rules == (members.rules[2], members.rules[0], members.rules[1])
    assert members.reset().steps == (0, 0, 0, 0)
    assert not members.reset().m.any()


def test_wrong_counts_are_refused_in_one_line() -> None:
    task, train, members = problem("mlp")
    with pytest.raises(EvooptError, match="4 members need 1 or 4 seeds, not 2"):
        train_phase(task, train, members, PhasePlan(1, 8, (1, 2)))
    with pytest.raises(EvooptError, match="4 models need as many rules, not 1"):
        Members.fresh(members.population, [PRESETS["adam"]])
    with pytest.raises(EvooptError, match="not of this architecture"):
        problem("cnn")[2].with_tensors(members.tensors(), members.rules)
