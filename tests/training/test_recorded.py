"""Steps that a device records once and replays are the steps themselves, to the last bit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import pytest
import torch
from torch import Tensor

from evoopt.optim.rule import UpdateRule
from evoopt.training.lockstep import Lockstep
from evoopt.training.plan import TrainingPlan, TrainingResult
from evoopt.training.population import ModelPopulation
from evoopt.training.population_update import population_update
from tests.rules import random_rule, random_rules, random_staged_rule

from .examples import task_and_data
from .recording import Recording, recorded_on_cpu

STAGED = random_rules(20, seed=1, draw=random_staged_rule)
RULES = {
    "plain": random_rules(4, seed=1),
    "staged": [*[rule for rule in STAGED if not rule.canonical().decomposes][:4], random_rule(1)],
    "one that decomposes": [next(rule for rule in STAGED if rule.canonical().decomposes), *STAGED[:2]],
}


def trained(
    name: str, rules: Sequence[UpdateRule], way: str, own: bool, steps: Sequence[int], recorded: bool
) -> tuple[list[Recording], list[Tensor]]:
    """What has been recorded, and all that changed in some steps, after which a member leaves, and others."""
    task, data = task_and_data(name)
    with recorded_on_cpu(recorded) as made:
        population = ModelPopulation.from_seeds(task, range(len(rules)), way).to("cpu", torch.float64)
        update = population_update(rules, population.architecture, population.weights, sum(steps))
        plans = [
            TrainingPlan(sum(steps), seed, 16, drop_last=False) for seed in range(len(rules) if own else 1)
        ]
        lockstep = Lockstep(task, data.train.to("cpu", torch.float64), population, update, plans)
        for step, batch in lockstep.minibatches():
            if step == steps[0]:
                lockstep.drop({1: TrainingResult.unsuccessful("stopped", "")})
            lockstep.step(step, batch)
        weights = lockstep.readout().weights
    kept = [weights, *lockstep.population.state.values(), *update.tensors().values()]
    return list(made), [lockstep.losses, *kept]


@pytest.mark.parametrize(
    ("name", "rules", "way", "own", "steps"),
    [
        ("mlp", "plain", "stacked", False, [8, 60]),  # coefficients are computed for 64 steps at once
        ("mlp", "staged", "stacked", True, [8, 8]),
        ("odd_convolutions", "staged", "stacked", False, [15]),
        ("odd_convolutions", "plain", "vmap", True, [8, 8]),
        ("residual", "plain", "loop", True, [8, 8]),
        ("mlp", "one that decomposes", "stacked", False, [8, 8]),
    ],
)
def test_a_step_replayed_is_the_step(name: str, rules: str, way: str, own: bool, steps: list[int]) -> None:
    made, found = trained(name, RULES[rules], way, own, steps, recorded=True)
    _, unrecorded = trained(name, RULES[rules], way, own, steps, recorded=False)
    for one, other in zip(found, unrecorded, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    replays = [recording.replays for recording in made if recording.replays]
    # Minibatches have two sizes (16, and 4 at the end of an epoch of 7), of which two steps are not replayed.
    small = [
        sum(step % 7 == 6 for step in range(end - count, end))
        for count, end in zip(steps, accumulate(steps), strict=True)
    ]
    expected = [count - n - 2 + max(0, n - 2) for count, n in zip(steps, small, strict=True)]
    assert replays[:: max(1, len(replays) // len(steps))] == expected
    assert rules == "one that decomposes" or len(replays) == len(steps)
