"""Racing over seeds: who is clearly worse gets no further ones, and the run says how many that spared."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from evoopt.errors import EvooptError
from evoopt.jobs.records import Evaluation
from evoopt.runs import Run
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.racing import clearly_worse
from evoopt.systems.optimizer.text import describe_run
from tests.stubs import StubExecutor
from tests.systems.optimizer.test_judging import row
from tests.systems.optimizer.test_optimizer_search import JUDGED, assert_resumes, config, whole

RACED = JUDGED.override({"evaluation": {"racing": True, "replicates": 3}})


def gain(training: Evaluation) -> float:
    return training.result.metric


@pytest.mark.parametrize(
    ("behind", "pairs", "worse"),
    [(2.8, 1, False), (2.9, 1, True), (1.9, 2, False), (2.1, 2, True), (0.99, 8, False), (1.01, 8, True)],
)
def test_clearly_worse_is_two_standard_errors_of_the_mean_difference(
    behind: float, pairs: int, worse: bool
) -> None:
    best = [row(5.0 + k, k) for k in range(pairs)]
    assert clearly_worse([row(5.0 + k - behind, k) for k in range(pairs)], best, gain) is worse


def test_only_pairs_count_and_a_training_without_a_score_is_worse_than_one_with() -> None:
    best = [row(5.0, 0), row(math.nan, 1)]
    assert not clearly_worse([row(4.0, 0), row(-99.0, 1), row(-99.0, 2)], best, gain)
    assert not clearly_worse([row(5.0, 0), row(math.nan, 1)], best, gain), "so it went with the best"
    assert clearly_worse([row(math.nan, 0), row(9.0, 1)], best, gain)
    assert not clearly_worse([row(1.0, 3)], best, gain), "nothing to compare"


def seeds_by_rule(folder: Path, repeat: int) -> dict[str, set[int]]:
    seeds: dict[str, set[int]] = {}
    with Run(folder) as run:
        for one in run.store.evaluations():
            if one.generation == 0 and one.repeat == repeat and one.replicate < 3:
                seeds.setdefault(one.key, set()).add(one.replicate)
    return seeds


def test_the_clearly_worse_get_one_seed_and_the_others_all(tmp_path: Path) -> None:
    whole(tmp_path / "raced", RACED)
    whole(tmp_path / "plain", RACED.override({"evaluation": {"racing": False}}))
    raced, plain = seeds_by_rule(tmp_path / "raced", -2), seeds_by_rule(tmp_path / "plain", -2)
    assert raced.keys() == plain.keys(), "everybody has a first seed"
    assert set(map(frozenset, plain.values())) == {frozenset({0, 1, 2})}
    assert set(map(frozenset, raced.values())) >= {frozenset({0}), frozenset({0, 1, 2})}


def test_what_racing_spares_is_what_is_not_trained_and_stands_in_the_records(tmp_path: Path) -> None:
    settings = RACED.override({"search": {"generations": 1}, "evaluation": {"rungs": [], "rates": 1}})
    whole(tmp_path / "run", settings)
    whole(tmp_path / "plain", settings.override({"evaluation": {"racing": False}}))
    with Run(tmp_path / "run") as raced, Run(tmp_path / "plain") as plain:
        (record,), (other,) = raced.generations, plain.generations
        assert record["saved"]["racing"] > 0
        assert "saved" not in other
        shown = describe_run(raced)
    counts = [sum(len(c.rules) for c in executor.chunks) for executor in executors(tmp_path, settings)]
    assert counts[0] == counts[1] - record["saved"]["racing"]
    assert f"; saved {record['saved']['racing']} more: {record['saved']['racing']:,} by racing" in shown


def executors(folder: Path, settings: OptimizerConfig) -> list[StubExecutor]:
    without_final = {"search": {"finalists": 0}}
    return [
        whole(folder / str(racing), settings.override({**without_final, "evaluation": {"racing": racing}}))[1]
        for racing in (True, False)
    ]


def test_a_raced_run_interrupted_anywhere_resumes_exactly(tmp_path: Path) -> None:
    expected, reference = whole(tmp_path / "whole", RACED)
    total = len(reference.chunks)
    for stop in range(1, total, 14):
        assert_resumes(tmp_path / f"stopped-{stop}", RACED, stop, expected, total)


def test_racing_needs_gains() -> None:
    with pytest.raises(EvooptError, match=r'racing needs .* "gain"'):
        config(evaluation={"racing": True})
