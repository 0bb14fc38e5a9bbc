"""Steps that are recorded once and replayed are the steps themselves, to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from threading import Thread

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from evoopt.optim.rule import UpdateRule
from evoopt.training import tapes
from evoopt.training.lockstep import Lockstep
from evoopt.training.native import cross_entropy, linear
from evoopt.training.plan import TrainingPlan, TrainingResult
from evoopt.training.population import ModelPopulation
from evoopt.training.population_update import population_update
from evoopt.training.tapes import Played
from tests.rules import random_rule, random_rules, random_staged_rule

from .examples import task_and_data
from .recording import recorded_on_cpu, without_kernels

STAGED = random_rules(20, seed=1, draw=random_staged_rule)
SOME = [rule for rule in STAGED if not rule.canonical().decomposes][:4]
RULES = {
    "plain": random_rules(4, seed=1),
    "staged": [*SOME, random_rule(1)],
    "one plain, which leaves": [SOME[0], random_rule(1), *SOME[1:]],
    "one that decomposes": [next(rule for rule in STAGED if rule.canonical().decomposes), *STAGED[:2]],
}


def trained(
    name: str, rules: Sequence[UpdateRule], way: str, own: bool, steps: Sequence[int], dtype: torch.dtype
) -> list[Tensor]:
    """All that changed in some steps, after which a member leaves, and others."""
    task, data = task_and_data(name)
    population = ModelPopulation.from_seeds(task, range(len(rules)), way).to("cpu", dtype)
    update = population_update(rules, population.architecture, population.weights, sum(steps))
    plans = [TrainingPlan(sum(steps), seed, 16, drop_last=False) for seed in range(len(rules) if own else 1)]
    lockstep = Lockstep(task, data.train.to("cpu", dtype), population, update, plans)
    for step, batch in lockstep.minibatches():
        if step == steps[0]:
            lockstep.drop({1: TrainingResult.unsuccessful("stopped", "")})
        lockstep.step(step, batch)
    weights = lockstep.readout().weights
    return [lockstep.losses, weights, *lockstep.population.state.values(), *update.tensors().values()]


def replayed(steps: Sequence[int]) -> list[int]:
    """How many steps before and after a member leaves are neither the first nor the second of their size."""
    ends = zip(steps, accumulate(steps), strict=True)
    # 16, and 4 at the end of an epoch of 7.
    small = [sum(step % 7 == 6 for step in range(end - count, end)) for count, end in ends]
    return [count - n - 2 + max(0, n - 2) for count, n in zip(steps, small, strict=True)]


def assert_same(some: list[Tensor], others: list[Tensor]) -> None:
    for one, other in zip(some, others, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("name", "rules", "way", "own", "steps"),
    [
        ("mlp", "plain", "stacked", False, [8, 8]),
        ("mlp", "staged", "stacked", True, [8, 8]),
        ("odd_convolutions", "staged", "stacked", False, [15]),
        ("odd_convolutions", "plain", "vmap", True, [8, 8]),
        ("residual", "plain", "loop", True, [8, 8]),
        ("mlp", "one that decomposes", "stacked", False, [8, 8]),
    ],
)
def test_on_a_device(name: str, rules: str, way: str, own: bool, steps: list[int]) -> None:
    with recorded_on_cpu() as made:
        found = trained(name, RULES[rules], way, own, steps, torch.float64)
        replays = [recording.replays for recording in made if recording.replays]
    with recorded_on_cpu(enabled=False):
        assert_same(found, trained(name, RULES[rules], way, own, steps, torch.float64))
    assert replays[:: max(1, len(replays) // len(steps))] == replayed(steps)
    assert rules == "one that decomposes" or len(replays) == len(steps)


@contextmanager
def counted(enabled: bool) -> Iterator[list[bool]]:
    """What `play` says each time; with no loss that is known nothing is put on tape."""
    plays: list[bool] = []
    play = tapes._Tape.play
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tapes._Tape, "play", lambda *args: plays.append(play(*args)) or plays[-1])
        if not enabled:
            patch.setattr("evoopt.training.lockstep.is_known", lambda loss: False)
        yield plays


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "torch"])
@pytest.mark.parametrize(
    ("name", "rules", "own", "steps"),
    [
        ("mlp", "plain", False, [8, 60]),  # coefficients are computed for 64 steps at once
        ("mlp", "staged", True, [8, 8]),
        ("mlp", "one plain, which leaves", False, [8, 8]),
        ("odd_convolutions", "plain", True, [8, 8]),
        ("odd_convolutions", "staged", False, [15]),
        ("teacher_student", "staged", False, [8, 8]),
        ("digits_rows", "plain", True, [8, 8]),  # by vmap
    ],
)
def test_on_a_cpu(
    name: str, rules: str, own: bool, steps: list[int], kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernels:
        without_kernels(monkeypatch)
    with counted(enabled=True) as plays:
        found = trained(name, RULES[rules], "auto", own, steps, torch.float32)
    with counted(enabled=False) as none:
        assert_same(found, trained(name, RULES[rules], "auto", own, steps, torch.float32))
    assert none == []
    assert plays == [True] * sum(replayed(steps))


def test_what_others_wrote_is_not_put_on_tape() -> None:
    with counted(enabled=True) as plays:
        trained("residual", RULES["plain"], "auto", False, [6], torch.float32)
    assert plays == []


def by_python(x: Tensor) -> Tensor:
    return x * float(x.sum())


def chosen(x: Tensor) -> Tensor:
    return x[x > 0].sum()


def made_up(x: Tensor) -> Tensor:
    return x + torch.tensor(3.0)


@pytest.mark.parametrize("compute", [by_python, chosen, made_up, torch.bernoulli, torch.nonzero])
def test_what_follows_from_data_is_computed_each_time(compute: Callable[[Tensor], Tensor]) -> None:
    played = Played(compute)
    with counted(enabled=True) as plays:
        for k in range(5):
            x = torch.rand(6, generator=torch.Generator().manual_seed(k))
            torch.manual_seed(k)
            found = played(x)
            torch.manual_seed(k)
            assert torch.equal(found, compute(x))
    assert plays == []


def test_a_tape_that_would_be_too_long_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for most, count in ((4000, 3), (3999, 0)):
        monkeypatch.setattr(tapes, "_MOST", most)
        played = Played(lambda x: (x + 1) * 2)
        with counted(enabled=True) as plays:
            assert [float(played(torch.full((500,), float(k)))[0]) for k in range(5)] == [2, 4, 6, 8, 10]
        assert len(plays) == count


def test_operations_of_several_results_and_in_place_are_played() -> None:
    kept = torch.zeros(3)

    def compute(x: Tensor) -> Tensor:
        values, places = x.sort(descending=True)
        kept.add_(values)
        return kept[places] + x.view(3, 1).expand(3, 2).sum(1)

    played, expected = Played(compute), torch.zeros(3)
    for k in range(6):
        x = torch.rand(3, generator=torch.Generator().manual_seed(k))
        values, places = x.sort(descending=True)
        expected += values
        assert torch.equal(played(x), expected[places] + 2 * x)


@pytest.mark.skipif(not cross_entropy.suits(torch.zeros(1), torch.zeros(1).long()), reason="no C++ compiler")
def test_a_kernel_that_refuses_its_inputs_is_asked_as_usual() -> None:
    outputs = torch.randn(1, 3, 4)

    def losses(y: Tensor) -> Tensor:
        found = cross_entropy.losses_and_gradient(outputs, y)
        return torch.full((1,), -1.0) if found is None else found[0]

    played = Played(losses)
    expected = F.cross_entropy(outputs[0].T, torch.tensor([0, 1, 2, 0]))
    for y, loss in (([0, 1, 2, 0], expected),) * 4 + (([0, 1, 2, 7], torch.tensor(-1.0)),) * 2:
        torch.testing.assert_close(played(torch.tensor([y]))[0], loss)


@pytest.mark.skipif(not linear.suits(torch.zeros(1), torch.zeros(1)), reason="no C++ compiler")
def test_a_tape_holds_what_its_own_thread_does() -> None:
    weight, other = torch.randn(1, 3, 3), torch.zeros(1, 3, 2)

    def compute(x: Tensor) -> Tensor:
        thread = Thread(target=lambda: other.copy_(linear.forward(other + 1, weight, None, False)))
        thread.start()
        thread.join()
        return linear.forward(x, weight, None, False)

    played = Played(compute)
    for k in range(4):
        x = torch.randn(1, 3, 2, generator=torch.Generator().manual_seed(k))
        kept = other.clone()
        assert torch.allclose(played(x), weight @ x, atol=1e-6)
        assert torch.equal(kept, other) == (k > 1)
