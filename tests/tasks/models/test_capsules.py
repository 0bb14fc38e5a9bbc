from __future__ import annotations

import pytest
import torch
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.tasks.models import CapsNet, margin_loss
from evoopt.tasks.models.capsules import Capsules
from evoopt.training.forward import outputs
from evoopt.training.population import ModelPopulation


def route(votes: Tensor, routings: int, q: float) -> Tensor:
    """The published routine, one example and one capsule at a time; ``votes [sources, count, size]``."""
    sources, count, size = votes.shape
    logits = torch.zeros(sources, count, dtype=votes.dtype)
    for k in range(routings):
        coupling = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
        capsules = torch.zeros(count, size, dtype=votes.dtype)
        for j in range(count):
            s = sum((coupling[i, j] * votes[i, j] for i in range(sources)), torch.zeros(size))
            squared = s.dot(s)
            capsules[j] = squared / (q + squared) * s / squared.sqrt()
        if k + 1 < routings:
            logits = torch.stack([(votes[i] * capsules).sum(dim=1) for i in range(sources)])
    return capsules


@pytest.mark.parametrize("routings", [1, 2, 3, 5])
@pytest.mark.parametrize("q", [0.5, 1.0])
def test_routing_is_the_published_routine(routings: int, q: float) -> None:
    torch.manual_seed(0)
    layer = Capsules(4, 3, 2, routings, q, most_routings=5).double()
    x = torch.randn(2, 6, 4, dtype=torch.float64)
    votes = layer.project(x).view(2, 6, 3, 2)
    expected = torch.stack([route(one, routings, q) for one in votes])
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-6)


def test_members_of_a_population_may_have_their_own_routings_and_q() -> None:
    torch.manual_seed(0)
    settings = [(1, 0.5), (3, 1.0), (5, 0.7)]
    one = CapsNet().double()
    assert (one.capsules.q.item(), one.capsules.routings.item()) == (0.5, 3)
    assert (one.capsules.count, one.capsules.size) == (10, 16)
    population = ModelPopulation.from_model(one, 3)
    population.state["capsules.routings"].copy_(torch.tensor([r for r, _ in settings]))
    population.state["capsules.q"].copy_(torch.tensor([q for _, q in settings]))
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    found = outputs(population, x)
    for member, (routings, q) in zip(found, settings):
        single = CapsNet(routings, q).double()
        single.load_state_dict(
            {**one.state_dict(), "capsules.routings": torch.tensor(routings)}
            | {"capsules.q": torch.tensor(q, dtype=torch.float64)}
        )
        torch.testing.assert_close(member, single(x).detach())
    assert not torch.allclose(found[0], found[1])
    clones = population[[2, 2, 0]]
    assert clones.state["capsules.routings"].tolist() == [5, 5, 1]
    assert int(clones.member(0).capsules.routings) == 5  # type: ignore[union-attr, arg-type]


def test_lengths_of_capsules_are_between_0_and_1() -> None:
    lengths = CapsNet()(100 * torch.randn(4, 3, 32, 32))
    assert lengths.min() > 0
    assert lengths.max() < 1


def test_margin_loss_is_equation_4() -> None:
    lengths = torch.tensor([[0.95, 0.3, 0.05], [0.2, 0.4, 0.1]])
    first = 0 + 0.5 * 0.2**2 + 0
    second = 0.5 * 0.1**2 + (0.9 - 0.4) ** 2 + 0
    assert margin_loss(lengths, torch.tensor([0, 1])).item() == pytest.approx((first + second) / 2)


@pytest.mark.parametrize(("setting", "value"), [("routings", 0), ("routings", 6), ("q", 0.0)])
def test_impossible_settings_are_named(setting: str, value: float) -> None:
    with pytest.raises(EvooptError, match=f"{setting} must be .* not {value}"):
        CapsNet(**{setting: value})  # type: ignore[arg-type]
