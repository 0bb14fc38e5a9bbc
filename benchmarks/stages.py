"""What stages of a rule cost a population of MLPs, on one thread, as ratios of whole training steps."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

import torch

from benchmarks.cases import Outcome, Row
from benchmarks.measure import product_flops, rates, ratio, shown, side_by_side
from benchmarks.problems import PROBLEMS, Problem, adam_rules, data_of, task_of
from evoopt.execution.process_setup import keep_freed_memory, torch_threads
from evoopt.optim import UpdateRule, preset
from evoopt.optim.groups import parameter_roles
from evoopt.training.batched_update import BatchedUpdate
from evoopt.training.lockstep import Lockstep
from evoopt.training.plan import TrainingPlan
from evoopt.training.population import ModelPopulation
from evoopt.training.population_update import Update, population_update

MEMBERS, ROUNDS, STEPS = 25, 80, 10  # as many as a training takes at a time

MakeUpdate = Callable[[Sequence[UpdateRule], ModelPopulation], Update]


def stages() -> Outcome:
    """Members without stages as before and beside others; a mask and a shape; Newton and Schulz."""
    keep_freed_memory()
    problem, adam = PROBLEMS["mlp"], adam_rules(MEMBERS)
    masked = [replace(rule, mask="cautious", shape="rms") for rule in adam]
    muon = [replace(preset("muon"), lr=rule.lr) for rule in adam]
    with torch_threads(1):
        times = side_by_side(
            {
                "before": (_steps(problem, adam, _kernel), STEPS * MEMBERS),
                "plain": (_steps(problem, adam), STEPS * MEMBERS),
                "mixed": (_steps(problem, [*adam[:-1], masked[-1]]), STEPS * MEMBERS),
                "masked": (_steps(problem, masked), STEPS * MEMBERS),
                "muon": (_steps(problem, muon), STEPS * MEMBERS),
            },
            ROUNDS,
        )
        limit = newton_schulz_flops(problem, muon[0]) / product_flops()
    more = [a - b for a, b in zip(times["muon"], times["plain"], strict=True)]
    share = limit / statistics.median(more)
    found = {name: ratio(times, name, "before") for name in ("plain", "mixed", "masked", "muon")}
    title = f"{problem.title}, {MEMBERS} members' training step"
    return Outcome(
        [
            Row(f"{title}: without stages / before there were any", shown(found["plain"], 2), "<= 1.02x"),
            Row(f"{title}: beside one with stages / before", shown(found["mixed"], 2)),
            Row(f"{title}: cautious mask and rms shape / Adam", shown(found["masked"], 2), "<= 1.15x"),
            Row(f"{title}: Muon / Adam", shown(found["muon"], 2)),
            Row(
                f"{title}: what Newton and Schulz add, and their share of the limit of products",
                f"{statistics.median(more) * 1e6:,.0f} us per member, {share:.0%}",
                ">= 40%",
            ),
        ],
        {"rates": rates(times), "ratios": found, "limit_seconds": limit, "share_of_limit": share},
    )


def newton_schulz_flops(problem: Problem, rule: UpdateRule) -> int:
    """Operations in the products of one member's step."""
    model, flops = problem.make_model(), 0
    roles = parameter_roles(model)
    for name, p in model.named_parameters():
        if roles[name] == "matrix":
            few, many = sorted(p.flatten(1).shape)
            flops += rule.iterations * (4 * few**2 * many + 2 * few**3)
    return flops


def _kernel(rules: Sequence[UpdateRule], population: ModelPopulation) -> Update:
    return BatchedUpdate(rules, 10**6, population.weights, "always")


def _any(rules: Sequence[UpdateRule], population: ModelPopulation) -> Update:
    return population_update(rules, population.architecture, population.weights, 10**6, "always")


def _steps(problem: Problem, rules: Sequence[UpdateRule], make: MakeUpdate = _any) -> Callable[[], None]:
    data = data_of(problem)
    torch.manual_seed(0)
    population = ModelPopulation.from_model(problem.make_model(), len(rules))
    plan = TrainingPlan(10**4, seed=0, batch_size=problem.batch_size)
    update = make(rules, population)
    lockstep = Lockstep(task_of(problem, data), data.train, population, update, [plan])
    minibatches = lockstep.minibatches()

    def steps() -> None:
        for step, batch in islice(minibatches, STEPS):
            lockstep.step(step, batch)

    return steps
