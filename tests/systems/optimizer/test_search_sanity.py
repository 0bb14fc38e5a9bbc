"""What a search must find if it is there, and must not find if it is not: real searches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from evoopt import search
from evoopt.compare import Protocol, compare
from evoopt.config import load_space
from evoopt.execution import Place

pytestmark = pytest.mark.slow

SERIAL = {"execution": {"executor": "serial"}}


def test_a_planted_rule_that_is_best_survives(tmp_path: Path) -> None:
    """Muon among plain rules, on tasks where it leads at its best rate, which is not its preset's."""
    plain = ["sgd", "adam", "adamw", "rmsprop", "lion", "laprop"]
    settings = {
        "search": {"population": 14, "generations": 3, "finalists": 0, "compare": False},
        "evaluation": {
            "tasks": ["teacher_student", "deep_narrow"], "meta_tasks": [], "steps": 60, "baseline_trials": 12,
            "rate_reach": 6,
        },
        "genome": {"initial": [*plain, "muon"], "fill": "random", "ranges": {"lr_log10": [-5.0, 0.5]}},
    }  # fmt: skip
    run = search(load_space("find").override(settings).override(SERIAL), out=tmp_path / "run")
    planted = len(plain)
    assert run.store.individual(planted).genome.rule().shape == "orthogonal"
    assert all(planted in run.store.ancestors(record["best_id"]) for record in run.generations[1:])


def test_chance_alone_is_called_different_at_the_nominal_rate(tmp_path: Path) -> None:
    """Searches by noise among AdamW's constants: their winners are AdamW, tuned as much as AdamW is.

    Every seed has a tuning of its own. With one for all, two equal rules that it leaves at different settings
    do differ a little: t squared is then 5.1 on average over 40 searches, and 1.4, as it should be, so.
    """
    searches, seeds, findings, t_squared = 20, 8, list[str | None](), list[float]()
    space = load_space("find").tuned_start().noise().override(SERIAL)
    for seed in range(searches):
        settings = {
            "search": {"seed": seed, "population": 12, "generations": 4},
            "evaluation": {"tasks": ["digits"], "meta_tasks": [], "steps": 60},
        }
        run = search(space.override(settings), out=tmp_path / f"{seed}")
        protocol = Protocol(("digits",), steps=60, trials=24, seeds=seeds, seed=seed, tune_each_seed=True)
        report = compare([run.folder], baselines=["adamw"], protocol=protocol, place=Place(executor="serial"))
        row = report.analysis.rows[0]
        difference = row.difference
        assert difference is not None
        findings.append(row.finding)
        same = difference.spread == 0
        t_squared.append(0.0 if same else seeds * (difference.mean / difference.spread) ** 2)
    # What chance exceeds once in a thousand times, at rates of 2.5% and 5% and for Student's t.
    assert findings.count("better") <= stats.binom.ppf(0.999, searches, 0.025)
    assert findings.count("worse") + findings.count("better") <= stats.binom.ppf(0.999, searches, 0.05)
    chance = stats.t.rvs(seeds - 1, size=(20_000, searches), random_state=0) ** 2
    assert np.mean(t_squared) <= np.quantile(chance.mean(axis=1), 0.999)
