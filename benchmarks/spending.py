"""``python -m benchmarks.spending OUT``: what trainings are best spent on: rules, tasks, rates or seeds.

Rules as a search makes them are trained on every task at nine rates and with eight seeds, once. From that
table searches of a single generation are drawn by chance: so many rules on so many tasks, at so many rates,
with so many seeds. What the rule they select is worth is read off two tasks that did not select. An
interrupted measurement goes on; ``OUT.md`` and ``OUT.json`` are its result.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import machine
from evoopt.config import load_space
from evoopt.optim import preset
from evoopt.runs import Run
from evoopt.systems.optimizer.baseline import tuned_baseline
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.gain_target import LEAST_ERROR, LEAST_SPREAD
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.optimizer_search import make_run_executor
from evoopt.systems.optimizer.rate_axis import RateAxis
from evoopt.systems.optimizer.robust import RobustOperators
from evoopt.systems.optimizer.trainings import Trainings

TASKS = (
    "teacher_student", "deep_narrow", "digits_autoencoder", "digits",
    "breast_cancer", "heavy_tail", "associative_memory", "digits_cnn",
)  # fmt: skip
STEPS, SEEDS, RATES, JUDGES, DRAWS = 100, 8, 9, 2, 4000
PRESETS = ("adamw", "muon", "lion", "sgd", "laprop", "cautious_adamw")
PLAIN = ("sgd", "adam", "adamw", "rmsprop", "lion")
BUDGETS = (144, 432)

Fitness = Literal["validation", "gain", "error"]
Numbers = NDArray[np.float64]
_Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """Validation metrics, NaN where a training has none.

    Attributes:
        rules: Of shape (rules, tasks, rates, seeds), rates from low to high.
        own: Index of every rule's own rate.
        count: Number of rates of every rule; at the end of a range there are fewer.
        baseline: Of tuned AdamW, of shape (tasks, seeds).
    """

    rules: Numbers
    own: NDArray[np.int64]
    count: NDArray[np.int64]
    baseline: Numbers

    def at(self, rates: int) -> NDArray[np.bool_]:
        """Which rates are tried, of shape (rules, all rates): so many around one's own, if there are."""
        low = np.clip(self.own - rates // 2, 0, np.maximum(self.count - rates, 0))
        index = np.arange(RATES)
        return (index >= low[:, None]) & (index < low[:, None] + rates)

    def worth(self) -> Numbers:
        """Logarithm of tuned AdamW's error by a rule's on every task, at the rate that other seeds chose."""
        even, odd = self.rules[..., ::2].mean(-1), self.rules[..., 1::2].mean(-1)
        found = []
        for choosing, scoring in ((even, odd), (odd, even)):
            rate = _finite(choosing).argmax(-1)
            found.append(np.take_along_axis(scoring, rate[..., None], -1)[..., 0])
        metric = np.mean(found, 0)
        metric = np.where(np.isnan(metric), np.nanmin(metric, 0), metric)
        return np.log(_error(self.baseline.mean(-1)) / _error(metric))


@dataclass(frozen=True)
class Spending:
    """What a search of one generation trains: every rule on every task, at every rate, with every seed."""

    tasks: int
    seeds: int
    rates: int
    rules: int


def selections(
    table: Table, spending: Spending, fitness: Fitness, draws: int, rng: np.random.Generator
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The rule that each of some random searches selects, and the tasks that are to judge it."""
    count, tasks, _, seeds = table.rules.shape
    outside = ~table.at(spending.rates)
    spread = np.maximum(table.baseline.std(-1, ddof=1), LEAST_SPREAD["score"])
    for _ in range(draws):
        judges, on = np.split(rng.permutation(tasks)[: JUDGES + spending.tasks], [JUDGES])
        rules = rng.permutation(count)[: spending.rules]
        of = rng.permutation(seeds)[: spending.seeds]
        metric = table.rules[np.ix_(rules, on, range(RATES), of)].mean(-1)
        metric[np.broadcast_to(outside[rules][:, None], metric.shape)] = np.nan
        best = _finite(metric).max(-1)
        level = table.baseline[np.ix_(on, of)].mean(-1)
        score = best if fitness == "validation" else (best - level) / spread[on]
        if fitness == "error":
            score = np.log(_error(level)) - np.log(_error(best))
        yield int(rules[np.where(np.isfinite(best), score, -1e3).mean(-1).argmax()]), judges


def worth(table: Table, spending: Spending, fitness: Fitness, draws: int = DRAWS) -> tuple[float, float]:
    """Geometric mean of the error by tuned AdamW's on the judging tasks, and its relative standard error."""
    gains = table.worth()
    rng = np.random.default_rng(0)  # the same draws for every fitness
    found = [gains[rule, judges].mean() for rule, judges in selections(table, spending, fitness, draws, rng)]
    return float(np.exp(-np.mean(found))), float(np.std(found) / len(found) ** 0.5)


def drawn(config: OptimizerConfig) -> list[OptimizerGenome]:
    """Presets, mutants of the space's presets and of plain ones, one to four mutations old, random rules."""
    space, rng = config.genome.space(), np.random.default_rng(7)
    plain, rich = (RobustOperators(space, tuple(names)) for names in (PLAIN, config.genome.initial))
    found = {
        g.rule().key: g for g in (OptimizerGenome.from_rule(preset(name).canonical()) for name in PRESETS)
    }
    for operators, mutants, count in ((rich, True, 70), (plain, True, 60), (plain, False, 40)):
        enough = len(found) + count
        while len(found) < enough:
            genome = operators.mutant(rng) if mutants else operators.random(rng)
            for _ in range(int(rng.integers(0, 4)) if mutants else 0):
                genome = operators.mutate(genome, rng)
            found.setdefault(genome.rule().key, genome)
    return list(found.values())


def measured(out: Path) -> Table:
    """Train everything that a folder does not hold yet."""
    evaluation = {"tasks": list(TASKS), "meta_tasks": [], "steps": STEPS, "chunk_size": 64, "rungs": []}
    changes: dict[str, dict[str, Any]] = {
        "search": {"seed": 1, "compare": False, "finalists": 0},
        "evaluation": evaluation,
        "genome": {"ranges": {"lr_log10": [-5.0, 0.5], "warmup_steps": [1.0, 60.0]}},
    }
    config = load_space("find").override(changes)
    assert isinstance(config, OptimizerConfig)
    ranges, factor = config.genome.space().ranges, config.evaluation.rate_factor
    axis = RateAxis(RATES, 1, factor, ranges["lr_log10"], ranges["wd_log10"])
    genomes = drawn(config)
    variants = [sorted(axis.variants(genome), key=lambda one: one.lr_log10) for genome in genomes]
    rules = np.full((len(genomes), len(TASKS), RATES, SEEDS), np.nan)
    baseline = np.full((len(TASKS), SEEDS), np.nan)
    with (
        Run.begin(out, config) as run,
        make_run_executor(config) as executor,
    ):
        tuned = tuned_baseline(run, config, executor)
        trainings = Trainings(config, executor, run.store)
        for t, task in enumerate(TASKS):
            seeds = range(SEEDS)
            trainings.train([(tuned[task], (task, seed, 0)) for seed in seeds], t, 1)
            _fill(baseline[t], trainings, tuned[task], task)
            everybody = list(itertools.chain.from_iterable(variants))
            trainings.train([(one, (task, seed, 0)) for seed in seeds for one in everybody], t)
            for i, of_one in enumerate(variants):
                for r, variant in enumerate(of_one):
                    _fill(rules[i, t, r], trainings, variant, task)
            print(f"{task}: {len(everybody) * SEEDS} trainings", flush=True)
    own = [[one.key for one in row].index(genome.key) for genome, row in zip(genomes, variants, strict=True)]
    return Table(rules, np.array(own), np.array([len(row) for row in variants]), baseline)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spending", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the trainings; the result lies beside it")
    out = parser.parse_args().out
    table = measured(out)
    equal = {budget: _equal(table, budget) for budget in BUDGETS}
    pairs = [(tasks, seeds) for tasks in (1, 2, 4, 6) for seeds in (1, 2, 4)]
    scored = [_scored(table, Spending(tasks, seeds, RATES, 24)) for tasks, seeds in pairs]
    record = {"machine": machine(), "equal": equal, "fitness": scored}
    out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    out.with_suffix(".md").write_text("\n".join(_text(equal, scored, len(table.rules))) + "\n")


def _equal(table: Table, budget: int) -> list[_Row]:
    """What a budget buys, the best first."""
    found = list[_Row]()
    for tasks, seeds, rates in itertools.product((1, 2, 4, 6), (1, 2, 4), (1, 3, RATES)):
        spending = Spending(tasks, seeds, rates, budget // (tasks * seeds * rates))
        if 3 <= spending.rules <= len(table.rules):
            error, uncertain = worth(table, spending, "error")
            found.append({**asdict(spending), "error": error, "uncertain": uncertain})
    return sorted(found, key=lambda row: row["error"])


def _scored(table: Table, spending: Spending) -> _Row:
    errors = {fitness: worth(table, spending, fitness) for fitness in get_args(Fitness)}
    return {**asdict(spending), **{name: error for name, (error, _) in errors.items()}}


def _text(equal: dict[int, list[_Row]], scored: list[_Row], rules: int) -> Iterator[str]:
    yield "Error by tuned AdamW's, on two tasks that did not select, of the rule that a search selects."
    yield f"Geometric mean of {DRAWS} draws from {rules} rules, {len(TASKS)} tasks, {RATES} rates and"
    yield f"{SEEDS} seeds, {STEPS} steps."
    for budget, rows in equal.items():
        yield f"\n{budget} trainings, fitness by error:\n"
        yield "| tasks | rates | seeds | rules | error |\n|---|---|---|---|---|"
        for row in rows:
            counts = " | ".join(str(row[name]) for name in ("tasks", "rates", "seeds", "rules"))
            yield f"| {counts} | {row['error']:.3f} ± {row['error'] * row['uncertain']:.3f} |"
    yield f"\n24 rules, {RATES} rates, by fitness:\n"
    yield "| tasks | seeds | validation | gain | error |\n|---|---|---|---|---|"
    for row in scored:
        errors = " | ".join(f"{row[fitness]:.3f}" for fitness in get_args(Fitness))
        yield f"| {row['tasks']} | {row['seeds']} | {errors} |"


def _fill(row: Numbers, trainings: Trainings, genome: OptimizerGenome, task: str) -> None:
    for run in trainings.runs(genome, (task,)):
        if run.result.outcome == "ok" and run.replicate < SEEDS:
            row[run.replicate] = run.result.metric


def _finite(metric: Numbers) -> Numbers:
    return np.where(np.isnan(metric), -np.inf, metric)


def _error(metric: Numbers) -> Numbers:
    return np.maximum(1 - metric, LEAST_ERROR)


if __name__ == "__main__":
    main()
