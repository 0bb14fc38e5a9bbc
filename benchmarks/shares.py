"""Shares of the limit of products on one thread, by its own time, which other load changes little."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from benchmarks.cases import Outcome, Row
from benchmarks.genetic import NETWORKS, forward_flops, images, networks
from benchmarks.measure import ROUNDS, product_flops, step_flops
from benchmarks.problems import PROBLEMS, adam_rules, data_of, task_of
from evoopt.execution.process_setup import keep_freed_memory, torch_threads
from evoopt.training.engine import train
from evoopt.training.plan import TrainingPlan
from evoopt.training.population import ModelPopulation
from evoopt.training.scoring import Scorer


def shares() -> Outcome:
    """Whole trainings with Adam, and scoring."""
    keep_freed_memory()
    rows, record = [], {}
    with torch_threads(1):
        limit = product_flops()
        for name, members, steps in (("mlp", 25, 400), ("cnn8", 24, 200), ("cnn28", 1, 24)):
            seconds = _own_seconds(_training(name, members, steps)) / members / steps
            what = f"{PROBLEMS[name].title}: {members} members, one thread, share of the limit of products"
            share = record[name] = step_flops(PROBLEMS[name]) / limit / seconds
            rows.append(Row(what, f"{seconds * 1e6:,.0f} us per member and step, {share:.0%}"))
        for name, members, count in (("mnist", 5, 10_000), ("lenet", 5, 2000)):
            seconds = _own_seconds(_scoring(name, members, count)) / members
            what = f"{NETWORKS[name][2]}: {count:,} images, one thread, share of the limit of products"
            share = record[name] = forward_flops(name) * count / limit / seconds
            rows.append(Row(what, f"{seconds * 1e3:,.0f} ms per network, {share:.0%}"))
    return Outcome(rows, {"product_flops": limit, "shares": record})


def _training(name: str, members: int, steps: int) -> Callable[[], object]:
    problem, data, rules = PROBLEMS[name], data_of(PROBLEMS[name]), adam_rules(members)
    plan = TrainingPlan(steps, seed=0, batch_size=problem.batch_size)
    task = task_of(problem, data)  # one for all calls: how its models run is found out once
    return lambda: train(task, data, rules, plan, engine="batched")


def _scoring(name: str, members: int, count: int) -> Callable[[], object]:
    population = ModelPopulation.from_models(networks(name, members))
    scorer = Scorer(population.architecture.model, images(name, count), "accuracy")
    return lambda: scorer(population.packed())


def _own_seconds(call: Callable[[], object]) -> float:
    """Median time of the thread, after one unmeasured call."""
    call()
    times = []
    for _ in range(ROUNDS):
        started = time.thread_time()
        call()
        times.append(time.thread_time() - started)
    return statistics.median(times)
