"""Adam against Adam finds nothing: the chain of statistics keeps its nominal error rate on real scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from evoopt.compare.analysis import analyse
from evoopt.optim import preset
from evoopt.tasks import DataOptions, get_task, load_task_data
from evoopt.training.plan import TrainingPlan
from evoopt.training.sequential import train_sequential
from tests.compare.stubs import comparison_of

REPEATS, SEEDS = 100, 10


@pytest.fixture(scope="module")
def pool() -> np.ndarray:
    """Test metrics of trainings of Adam on digits, from one seed each."""
    torch.set_num_threads(1)
    task = get_task("digits")
    data = load_task_data(task, DataOptions(unseal_test=True))
    plans = [TrainingPlan(40, seed, 32, split="test") for seed in range(4 * SEEDS)]
    rule = preset("adam")
    scores = [train_sequential(task, data, [rule], plan)[0].metric for plan in plans]
    assert len(set(scores)) > 10
    return np.array(scores)


def test_adam_against_adam_finds_nothing_more_often_than_the_level_allows(pool: np.ndarray) -> None:
    """Four contenders on two tasks are all Adam: their scores are disjoint random draws from the same pool.

    Each repeat makes six tests, of which Holm's method should let one through in at most 5% of the repeats.
    """
    rng = np.random.default_rng(0)
    false_findings, excluded, intervals = 0, 0, 0
    for _ in range(REPEATS):
        scores = {}
        for task in ("first", "second"):
            draw = rng.permutation(pool)[: 4 * SEEDS].reshape(4, SEEDS)
            scores[task] = {name: list(row) for name, row in zip(("a", "b", "c", "adam"), draw, strict=True)}
        analysis = analyse(comparison_of(scores))
        rows = [row for row in analysis.rows if row.difference is not None]
        false_findings += any(row.finding != "no detectable difference" for row in rows)
        excluded += sum(not row.difference.low <= 0 <= row.difference.high for row in rows if row.difference)
        intervals += len(rows)
    # Counts that a true rate of 5% exceeds once in a thousand times.
    assert false_findings <= stats.binom.ppf(0.999, REPEATS, 0.05)
    assert 0.02 <= excluded / intervals <= 0.09


def test_the_same_chain_finds_a_loss_of_ten_points(pool: np.ndarray) -> None:
    worse = pool[:SEEDS] - 0.1
    scores = {"first": {"a": list(worse), "adam": list(pool[SEEDS : 2 * SEEDS])}}
    assert analyse(comparison_of(scores)).row("first", "a").finding == "worse"
