"""How rules are judged: at their best rate, against the tuned baseline, in complete trainings."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evoopt.errors import EvooptError
from evoopt.evolution.individual import Fitness
from evoopt.jobs.records import Evaluation
from evoopt.optim import preset
from evoopt.runs import Run
from evoopt.systems.optimizer.best_rule import best_of
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.rate_axis import RateAxis
from evoopt.systems.optimizer.scores import Gains, fitness_values
from evoopt.training.plan import TrainingResult
from tests.stubs import StubExecutor
from tests.systems.optimizer.test_optimizer_search import JUDGED, config, go, whole

ADAMW = OptimizerGenome.from_rule(preset("adamw"))


def row(metric: float, replicate: int, task: str = "digits", repeat: int = 0) -> Evaluation:
    outcome: Any = "ok" if math.isfinite(metric) else "diverged"
    result = TrainingResult(outcome, "", 10, 1 - metric, 1 - metric, metric, 0.0)
    return Evaluation(0, 0, 0, "k", task, replicate, repeat, 0, "batched", result)


def test_variants_are_a_factor_apart_and_stay_in_their_range() -> None:
    axis = RateAxis(5, 3, 10.0, (-3.5, -1.0), (-6.0, -1.0))
    own, *others = axis.variants(ADAMW)
    assert own is ADAMW
    at = {(round(v.lr_log10, 6), round(v.wd_log10, 6)) for v in (own, *others)}
    assert at == {(lr, wd) for lr in (-3.0, -2.0, -1.0) for wd in (-3.0, -2.0, -1.0)}
    assert all(replace(v, lr_log10=own.lr_log10, wd_log10=own.wd_log10) == own for v in others)
    # Weight decay that is switched off has no axis, and a rule outside of its range is tried as it is.
    bare = replace(ADAMW, use_weight_decay=False, lr_log10=-8.0)
    assert axis.variants(bare) == [bare]


def test_beyond_the_best_of_the_tried_rates_lies_another_if_it_is_the_outermost() -> None:
    axis = RateAxis(3, 1, 10.0, (-5.0, -1.0), (-6.0, -1.0))
    low, own, high = sorted(axis.variants(ADAMW), key=lambda genome: genome.lr_log10)
    assert axis.beyond(own, [low, own, high]) is None
    assert axis.beyond(low, [low, own, high]) == replace(ADAMW, lr_log10=low.lr_log10 - 1.0)
    further = axis.beyond(high, [low, own, high])
    assert further == replace(ADAMW, lr_log10=high.lr_log10 + 1.0)
    assert axis.beyond(further, [low, own, high, further]) is None, "the end of the range"
    assert axis.beyond(own, [own]) is None, "one rate says nothing of a direction"


def test_a_gain_is_the_paired_difference_in_standard_deviations_of_the_baseline() -> None:
    metrics = [0.90, 0.92, 0.94]
    gains = Gains([row(metric, k) for k, metric in enumerate(metrics)])
    assert gains(row(0.93, 0)) == pytest.approx((0.93 - 0.90) / 0.02)
    assert gains(row(0.93, 7)) == pytest.approx((0.93 - 0.92) / 0.02), "a seed it diverged on: its mean"
    with pytest.raises(LookupError):
        gains(row(0.93, 0, task="letter"))
    alike = Gains([row(1.0, 0), row(1.0, 1), row(math.nan, 2)])
    assert alike(row(0.999, 0)) == pytest.approx(-1.0), "a tenth of a point is the least unit"


def test_the_fitness_is_the_mean_over_tasks_of_mean_gains_and_divergence_stays_a_rate() -> None:
    baseline = [row(metric, k, task) for task in ("a", "b") for k, metric in enumerate((0.8, 0.9))]
    gains, sd = Gains(baseline), math.sqrt(0.005)
    runs = [row(0.85, 0, "a"), row(math.nan, 1, "a"), row(0.8, 0, "b"), row(1.0, 1, "b")]
    rate, score, _ = fitness_values("gain", runs, ("a", "b"), gains)
    assert (rate, score) == (0.25, pytest.approx((0.05 / sd + (0.0 + 0.1 / sd) / 2) / 2))


def rows_of(folder: Path) -> list[Evaluation]:
    with Run(folder) as run:
        return list(run.store.evaluations())


def test_only_the_better_part_of_new_individuals_is_trained_longer(tmp_path: Path) -> None:
    whole(tmp_path / "run", JUDGED)
    rows = [r for r in rows_of(tmp_path / "run") if r.generation == 0 and r.task == "digits"]
    rungs = {repeat: {r.key for r in rows if r.repeat == repeat} for repeat in (-2, -1, 0)}
    assert len(rungs[-2]) > 3 * len(rungs[-1]) > 0, "one rate goes on, of one half"
    assert rungs[-2] > rungs[-1] > rungs[0]
    with Run(tmp_path / "run") as run:
        assert [run.config.evaluation.steps_at(k) for k in (-2, -1, 0)] == [3, 6, 10]  # type: ignore[attr-defined]


def test_who_stays_behind_ranks_behind_who_goes_on(tmp_path: Path) -> None:
    settings = JUDGED.override({"search": {"generations": 2}})
    with Run.create(tmp_path / "run", settings) as run:
        go(run, StubExecutor())
        rungs = {r.key: r.repeat for r in sorted(run.store.evaluations(), key=lambda r: r.repeat)}
        state = run.store.checkpoint()
        assert state is not None
        population = [one for one in state["scheme"]["generations"]["population"] if not one["survivor"]]
    reached: dict[bool, list[Fitness]] = {True: [], False: []}
    for one in population:
        key = OptimizerGenome.from_json(one["genome"]).key
        reached[rungs[key] == 0].append(Fitness(one["fitness"]))
    finished = [fitness for fitness in reached[True] if not fitness.values[0]]
    assert finished
    assert reached[False]
    assert all(behind <= min(finished) for behind in reached[False])


@pytest.mark.parametrize("lamarckian", [True, False])
def test_the_rate_gene_moves_to_the_best_rate_unless_told_otherwise(lamarckian: bool, tmp_path: Path) -> None:
    settings = config(
        search={"generations": 2, "elites": 2, "population": 6, "finalists": 0},
        evaluation={"rates": 3, "lamarckian": lamarckian, "tasks": ["digits"]},
        genome={"initial": ["adamw"], "ranges": {"lr_log10": [-6.0, -1.0]}},
    )
    # The stub likes a rate of 1e-3 best; the preset starts there, its mutants do not.
    with Run.create(tmp_path / "run", settings) as run:
        go(run, StubExecutor())
        state = run.store.checkpoint()
        born = {ind.id: ind.genome for ind in run.store.individuals(list(range(100)))}
    assert state is not None
    last = [one for one in state["scheme"]["generations"]["population"] if not one["survivor"]]
    moved = [OptimizerGenome.from_json(one["genome"]).lr_log10 - born[one["id"]].lr_log10 for one in last]
    assert all(abs(by) == pytest.approx(math.log10(3.0)) or by == 0 for by in moved)
    assert any(moved) == lamarckian


@pytest.mark.parametrize("rungs", [[], [0.5]])
def test_who_starts_far_from_its_best_rate_gets_there_in_its_first_generation(
    rungs: list[float], tmp_path: Path
) -> None:
    settings = config(
        search={"generations": 1, "elites": 1, "population": 4, "finalists": 0},
        evaluation={"rates": 3, "rate_reach": 9, "rungs": rungs, "tasks": ["digits", "digits_cnn"]},
        genome={"initial": ["adamw"], "ranges": {"lr_log10": [-4.8, 1.0]}},
    )
    # The stub likes steps of 1e-3 best, and random rules lie anywhere.
    with Run.create(tmp_path / "run", settings) as run:
        go(run, StubExecutor())
        state, rows = run.store.checkpoint(), list(run.store.evaluations())
    assert state is not None
    population = state["scheme"]["generations"]["population"]
    rules = [OptimizerGenome.from_json(one["genome"]).rule() for one in population]
    sizes = [math.log10(rule.lr * sum(abs(weight) for _, weight in rule.terms)) for rule in rules]
    assert all(abs(size + 3.0) < math.log10(3.0) for size in sizes)
    first = [row for row in rows if row.repeat == -len(rungs)]
    assert {row.key for row in first if row.task == "digits"} == {r.key for r in first if r.task != "digits"}


@pytest.mark.parametrize(
    ("evaluation", "words"),
    [
        (
            {"tasks": ["digits", "wine", "digits"]},
            "evaluation.tasks names a task twice: digits, wine, digits",
        ),
        ({"meta_tasks": ["wine", "wine"]}, "evaluation.meta_tasks names a task twice"),
        ({"funnel_tasks": ["wine", "wine"]}, "evaluation.funnel_tasks names a task twice"),
        ({"rates": 2}, "evaluation.rates must be odd"),
        ({"decays": 4}, "evaluation.decays must be odd"),
        ({"rate_reach": 2}, "evaluation.rate_reach needs several evaluation.rates"),
        ({"rungs": [0.5, 0.25]}, "evaluation.rungs must rise"),
        ({"rungs": [0.5], "fitness": "paper"}, "evaluation.rungs need"),
        ({"fitness": "gain", "baseline": "adamm"}, "adam"),
        ({"meta_tasks": ["digits"]}, "nothing is selected"),
        ({"target": "error", "fitness": "gain", "racing": True}, "racing needs gains in standard deviations"),
        ({"target": "area"}, 'evaluation.target = "area" is what a gain compares'),
        ({"meta_tasks": ["letter"], "fitness": "paper"}, "meta_tasks"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_in_one_line(
    evaluation: dict[str, Any], words: str
) -> None:
    with pytest.raises(EvooptError, match=words) as caught:
        config(evaluation=evaluation)
    assert "\n" not in str(caught.value)


def test_a_random_search_of_equal_cost_counts_rates_and_rungs() -> None:
    # Of 100 steps: 3 rates of 30, half of them one rate of 60, a quarter the whole; 2 tasks, 2 seeds.
    assert JUDGED.trainings_per_individual == pytest.approx((3 * 0.3 + 0.5 * 0.6 + 0.25) * 2 * 2)
    assert JUDGED.random_search(58).search.population == 10
    population = JUDGED.search.population
    assert JUDGED.random_search(58, first_generation=29).search.population == 2 * population
    assert JUDGED.trainings_per_generation == 8 * (3 * 4 + 2 + 1)


def test_an_unfinished_run_shows_its_best_at_the_rate_that_was_best(tmp_path: Path) -> None:
    settings = JUDGED.override({"search": {"generations": 2}})
    with Run.create(tmp_path / "run", settings) as run:
        with pytest.raises(KeyboardInterrupt):
            go(run, StubExecutor(stop_at=90))
        record, best = run.generations[-1], best_of(run)
        assert best is not None
        assert best["genome"] == record["best_genome"]
        trained = {row.key for row in run.store.evaluations()}
        assert best["key"] in trained


def test_the_control_of_constants_varies_nothing_else(tmp_path: Path) -> None:
    settings = JUDGED.tuned_start()
    with Run.create(tmp_path / "run", settings) as run:
        go(run, StubExecutor())
        rules = [ind.genome.rule() for ind in run.store.individuals(list(range(100)))]
    assert len({rule.lr for rule in rules}) > 5
    assert {(rule.terms[0][0], len(rule.terms), rule.use_m, rule.bias_correction) for rule in rules} == {
        ("adam", 1, True, True)
    }
    assert {(rule.cosine, rule.warmup_steps, rule.clip_value, rule.shape) for rule in rules} == {
        (False, 0, None, "none")
    }


@pytest.mark.parametrize(
    ("limit", "generations"),
    [({"max_trainings": 30}, 2), ({"patience": 1}, None), ({"max_seconds": 1e-9}, 1)],
)
def test_a_search_ends_early_with_a_winner_and_a_resumed_one_at_the_same_place(
    limit: dict[str, Any], generations: int | None, tmp_path: Path
) -> None:
    settings = config(search={**limit, "population": 10}, evaluation={"tasks": ["digits"]})
    expected, executor = whole(tmp_path / "whole", settings)
    with Run(tmp_path / "whole") as run:
        best = [record["best"] for record in run.generations]
        assert run.finished
    if generations is not None:
        assert len(best) == generations
    else:
        assert len(best) == 5 or best[-1] <= max(best[:-1])
        assert all(later > max(best[:k]) for k, later in enumerate(best[1:-1], start=1))
    with Run.create(tmp_path / "stopped", settings) as run, pytest.raises(KeyboardInterrupt):
        go(run, StubExecutor(stop_at=len(executor.chunks) - 1))
    with Run(tmp_path / "stopped", writable=True) as run:
        go(run, StubExecutor())
        assert run.result_json() == expected
