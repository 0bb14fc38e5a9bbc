"""What is measured. Every case returns figures for the table and a record for the JSON file."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F

from benchmarks import genetic
from benchmarks.baselines import DeapPool, notebook_trainer
from benchmarks.measure import (
    ROUNDS,
    peak_memory_mb,
    product_flops,
    rates,
    ratio,
    shown,
    side_by_side,
    step_flops,
)
from benchmarks.ours import OurPool
from benchmarks.problems import (
    PROBLEMS,
    Problem,
    adam_rules,
    data_of,
    mlp_of_width,
    random_rules,
    task_of,
)
from evoopt.execution import make_executor
from evoopt.execution.process_setup import keep_freed_memory, torch_threads, usable_cores
from evoopt.jobs.rule_worker import Chunk, WorkerSetup, make_worker
from evoopt.optim import UpdateRule
from evoopt.tasks import DataOptions
from evoopt.training.batched import EngineOptions, seconds_per_step
from evoopt.training.batched_update import BatchedUpdate
from evoopt.training.forward import losses_and_gradients
from evoopt.training.memory import members_in_cache
from evoopt.training.native import batch_norm, dropping
from evoopt.training.plan import TrainingPlan
from evoopt.training.population import ModelPopulation


@dataclass(frozen=True)
class Row:
    """One line of the table: what was compared, the figure, and what was hoped for."""

    what: str
    figure: str
    target: str = ""


@dataclass(frozen=True)
class Outcome:
    rows: list[Row]
    record: dict[str, Any] = field(default_factory=dict)


def against_pool(name: str, ours: int, theirs: int, steps: int, engine: str, target: str) -> Outcome:
    """Our pool against DEAP with a process pool (baseline A), the same number of processes."""
    problem, cores = PROBLEMS[name], usable_cores()
    pool, deap = OurPool(cores), DeapPool(cores)
    try:
        times = side_by_side(
            {
                "A": (lambda: deap.train(name, theirs, steps), theirs * steps),
                "adam": (lambda: pool.train(name, adam_rules(ours), steps, engine), ours * steps),
                "random": (lambda: pool.train(name, random_rules(ours), steps, engine), ours * steps),
            }
        )
    finally:
        pool.close()
        deap.close()
    with torch_threads(1):
        limit = step_flops(problem) / product_flops() / cores
    share = limit / statistics.median(times["adam"])
    adam, mixed = ratio(times, "A", "adam"), ratio(times, "A", "random")
    return Outcome(
        [
            Row(f"{problem.title}: {ours} members with Adam / baseline A", shown(adam), target),
            Row(f"{problem.title}: {ours} random rules / baseline A", shown(mixed), target),
            Row(f"{problem.title}: share of the limit of products", f"{share:.0%}"),
        ],
        {"rates": rates(times), "ratio_adam": adam, "ratio_random": mixed, "limit_share": share},
    )


def against_notebook() -> Outcome:
    """Our pool against the published notebook's way (baseline B): one model at a time, all threads."""
    problem, cores, steps = PROBLEMS["cnn28"], usable_cores(), 40
    pool, notebook = OurPool(cores), notebook_trainer(problem)
    try:
        with torch_threads(cores):
            times = side_by_side(
                {
                    "B": (lambda: notebook(steps), steps),
                    "ours": (
                        lambda: pool.train("cnn28", adam_rules(cores), steps, "batched"), cores * steps
                    ),
                }
            )  # fmt: skip
    finally:
        pool.close()
    found = ratio(times, "B", "ours")
    return Outcome(
        [Row(f"{problem.title}: {cores} members with Adam / baseline B", shown(found), ">= 3x")],
        {"rates": rates(times), "ratio": found},
    )


def update_share() -> Outcome:
    """What part of a step the update takes."""
    rows, record = [], {}
    keep_freed_memory()
    for name, members in (("mlp", 25), ("cnn8", 24), ("cnn28", 1)):
        for kind, rules in (("Adam", adam_rules(members)), ("random rules", random_rules(max(members, 4)))):
            share = _update_share(PROBLEMS[name], rules[:members])
            rows.append(
                Row(f"{PROBLEMS[name].title}: update's share of a step, {kind}", f"{share:.0%}", "<= 15%")
            )
            record[f"{name} {kind}"] = share
    return Outcome(rows, record)


def _update_share(problem: Problem, rules: Sequence[UpdateRule]) -> float:
    data = data_of(problem)
    x, y = data.train.x[: problem.batch_size], data.train.y[: problem.batch_size]
    population = ModelPopulation.from_models([problem.make_model() for _ in rules])
    update = BatchedUpdate(rules, 10**6, population.weights, "always")
    uniform = {f"{name}.uniform": torch.rand(problem.batch_size, 256) for name in population.rates}
    gradients, loss = torch.empty_like(population.weights), task_of(problem, data).loss
    count = iter(range(10**6))

    def gradient_steps() -> None:
        for _ in range(5):
            losses_and_gradients(population, loss, x, y, uniform, gradients)

    def update_steps() -> None:
        for _ in range(5):
            update.step(population.weights, gradients, next(count))

    with torch_threads(1):
        times = side_by_side({"gradients": (gradient_steps, 5), "update": (update_steps, 5)}, rounds=15)
    shares = [u / (u + g) for u, g in zip(times["update"], times["gradients"], strict=True)]
    return statistics.median(shares)


def together(problem: Problem, members: int) -> int:
    """So many, or as many as a training takes at a time: more train in groups, one after another."""
    weights = sum(p.numel() for p in problem.make_model().parameters())
    return min(members, members_in_cache(weights, torch.float32.itemsize))


def population_sizes() -> Outcome:
    """Cost of a member's step against the number of members, one thread."""
    rows, record = [], {}
    keep_freed_memory()
    for name in ("mlp", "cnn8"):
        problem = PROBLEMS[name]
        sizes = [p for p in (1, 8, 25, 50, 200) if p == together(problem, p)]
        times = _steps(problem, [(f"{p}", random_rules(p)) for p in sizes])
        for label, seconds in times.items():
            gain = statistics.median(times["1"]) / statistics.median(seconds)
            rows.append(
                Row(
                    f"{problem.title}: {label} members, one thread",
                    f"{1 / statistics.median(seconds):,.0f} members x steps/s, {gain:.1f}x of 1 member",
                )
            )
        record[name] = rates(times)
    return Outcome(rows, record)


def model_sizes() -> Outcome:
    """Cost of a member's step against the size of the model, up to 25 members, one thread."""
    keep_freed_memory()
    rows, record = [], {}
    for width in (25, 50, 100, 200, 400):
        problem = mlp_of_width(width)
        weights = sum(p.numel() for p in problem.make_model().parameters())
        members = together(problem, 25)
        seconds = statistics.median(_steps(problem, [("", random_rules(members))])[""])
        with torch_threads(1):
            share = step_flops(problem) / product_flops() / seconds
        rows.append(
            Row(
                f"{problem.title}, {weights:,} weights: {members} members, one thread",
                f"{seconds * 1e6:,.0f} us per member and step, {share:.0%} of the limit of products",
            )
        )
        record[str(weights)] = {"seconds": seconds, "limit_share": share}
    return Outcome(rows, record)


def _steps(
    problem: Problem, groups: list[tuple[str, list[UpdateRule]]], rounds: int = ROUNDS
) -> dict[str, list[float]]:
    data = data_of(problem)
    task, plan = task_of(problem, data), TrainingPlan(500, seed=0, batch_size=problem.batch_size)
    times: dict[str, list[float]] = {label: [] for label, _ in groups}
    with torch_threads(1):
        for _ in range(rounds):
            for label, rules in groups:
                options = EngineOptions(compile="always")
                seconds = seconds_per_step(task, data, rules, plan, "cpu", options, budget=0.3, most=50)
                times[label].append(seconds / len(rules))
    return times


def layers() -> Outcome:
    """Steps of populations with kinds of layers by compiled kernels, and the same by torch, one thread."""
    keep_freed_memory()
    rows, record = [], {}
    for name, kernel in (("dropout", dropping), ("norm", batch_norm)):
        problem, ways = PROBLEMS[name], {"kernel": kernel.suits, "torch": lambda a: False}
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, suits in ways.items():
                with mock.patch.object(kernel, "suits", suits):
                    times[way] += _steps(problem, [("", adam_rules(20))], rounds=1)[""]
        found = record[name] = ratio(times, "torch", "kernel")
        rows.append(Row(f"{problem.title}: 20 members, {name} by torch / by the kernel", shown(found)))
    return Outcome(rows, record)


def losses() -> Outcome:
    """Steps with losses that are means of numbers, for a population at once and by vmap, one thread."""
    keep_freed_memory()
    problem, rows, record = PROBLEMS["mlp"], [], {}
    numbers = data_of(problem, targets=lambda y: F.one_hot(y, 10).float())
    plan, rules = TrainingPlan(500, seed=0, batch_size=problem.batch_size), adam_rules(12)
    for loss in (F.mse_loss, F.binary_cross_entropy_with_logits):
        ways = {"at once": loss, "vmap": lambda outputs, y, loss=loss: loss(outputs, y)}
        times: dict[str, list[float]] = {way: [] for way in ways}
        with torch_threads(1):
            for _ in range(ROUNDS):
                for way, function in ways.items():
                    task = replace(task_of(problem, numbers), loss=function, metric=function)
                    times[way].append(
                        seconds_per_step(
                            task, numbers, rules, plan, "cpu", EngineOptions(), budget=0.3, most=100
                        )
                    )
        found = record[loss.__name__] = ratio(times, "vmap", "at once")
        rows.append(
            Row(f"{problem.title}: 12 members, {loss.__name__} by vmap / for all at once", shown(found))
        )
    return Outcome(rows, record)


def memory() -> Outcome:
    """Peak memory of a process that trains a population, beyond one that only imports the package."""
    script = """
from benchmarks.problems import *
from evoopt.training.engine import train
from evoopt.training.plan import TrainingPlan
problem = PROBLEMS[{name!r}]
data = data_of(problem)
if {members}:
    plan = TrainingPlan(3, seed=0, batch_size=problem.batch_size)
    train(task_of(problem, data), data, adam_rules({members}), plan, engine={engine!r})
"""
    rows, record = [], {}
    for name, engine, members in (("mlp", "batched", 50), ("mlp", "batched", 200), ("cnn8", "batched", 50),
                                  ("cnn28", "sequential", 1), ("cnn28", "sequential", 12)):  # fmt: skip
        base = peak_memory_mb(script.format(name=name, members=0, engine=engine))
        used = peak_memory_mb(script.format(name=name, members=members, engine=engine)) - base
        rows.append(Row(f"{PROBLEMS[name].title}: peak memory of {members} members", f"{used:,.0f} MB"))
        record[f"{name} {members}"] = used
    return Outcome(rows, record)


def generation() -> Outcome:
    """A generation of 24 rules on two tasks through the pool: what is not training."""
    cores, rules = usable_cores(), [rule.canonical() for rule in random_rules(24)]
    plan = TrainingPlan(300, seed=0, batch_size=0)
    setup = WorkerSetup(("digits", "digits_cnn"), DataOptions())
    shares, totals = [], []
    with make_executor("process", make_worker, setup, workers=cores) as executor:
        for turn in range(6):
            chunks = [
                Chunk(task, tuple(rules[k : k + 12]), replace(plan, seed=seed), "batched")
                for task in setup.tasks for seed in (2 * turn, 2 * turn + 1) for k in (0, 12)
            ]  # fmt: skip
            started = time.perf_counter()
            results = [result.value or [] for result in executor.run(chunks)]
            total = time.perf_counter() - started
            training = sum(result.seconds for values in results for result in values)
            if turn:
                shares.append(1 - training / (cores * total))
                totals.append(total)
    share = statistics.median(shares)
    return Outcome(
        [Row("24 rules x 2 digits tasks x 2 seeds x 300 steps: time that is not training", f"{share:.1%}")],
        {"seconds": statistics.median(totals), "overhead_share": share},
    )


CASES: dict[str, Callable[[], Outcome]] = {
    "mlp": lambda: against_pool("mlp", 50, 4, 400, "batched", ">= 10x"),
    "mlp100": lambda: against_pool("mlp", 100, 4, 400, "batched", ">= 10x"),
    "dropout": lambda: against_pool("dropout", 50, 4, 400, "batched", ""),
    "cnn8": lambda: against_pool("cnn8", 48, 4, 200, "batched", ">= 5x"),
    "norm": lambda: against_pool("norm", 48, 4, 200, "batched", ""),
    "cnn28": lambda: against_pool("cnn28", 2, 2, 24, "batched", ">= 1.5x"),
    "notebook": against_notebook,
    "shares": lambda: importlib.import_module("benchmarks.shares").shares(),
    "layers": layers,
    "losses": losses,
    "update": update_share,
    "population": population_sizes,
    "model": model_sizes,
    "memory": memory,
    "generation": generation,
    "gadam": lambda: importlib.import_module("benchmarks.gadam").gadam_generation(),
    "pbt": lambda: importlib.import_module("benchmarks.pbt").pbt(),
    "stages": lambda: importlib.import_module("benchmarks.stages").stages(),
    **genetic.CASES,
    "cuda": lambda: importlib.import_module("benchmarks.cuda").cuda(),
}
