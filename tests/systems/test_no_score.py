"""Nonsense is not carried to a winner: runs of every type stop with the reason, and stay readable."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import evoopt
from evoopt.cli import app
from evoopt.config import resolve
from evoopt.errors import NoScoreError
from evoopt.jobs.no_score import check_metrics, no_score, with_metric
from evoopt.report import write_report
from evoopt.training.plan import TrainingResult

TASKS = """
from dataclasses import replace

from evoopt.tasks import TASKS

digits = TASKS["digits"]


def scaled(): return replace(digits, loss=lambda o, t: 1000 * digits.loss(o, t))
def broken(): return replace(digits, loss=lambda o, t: o.sum() * float("nan"))
def nan(): return replace(digits, metric=lambda o, t: o.new_full((), float("nan")))
def percent(): return replace(digits, metric=lambda o, t: 100 * digits.metric(o, t))
"""
SMALL: dict[str, dict[str, Any]] = {
    "quick": {
        "search": {"population": 4, "generations": 2, "finalists": 1, "compare": False},
        "evaluation": {"steps": 5, "replicates": 1, "engine": "sequential"},
    },
    "gadam-digits": {"gadam": {"population": 2, "generations": 1}, "training": {"steps": 2}},
    "genetic-digits": {"genetic": {"population": 4, "generations": 2}},
    "pbt-digits": {"recombination": {"population": 4, "generations": 2}, "training": {"steps": 2}},
}
SMALL["pbt-digits of error"] = {
    **SMALL["pbt-digits"], "recombination": {**SMALL["pbt-digits"]["recombination"], "fom": "error"}
}  # fmt: skip
SMALL["hpo-lenet"] = {
    "recombination": {"population": 4, "generations": 2, "fom": "steps", "target": 0.9, "every": 1},
    "training": {"steps": 2},
}


def run(name: str, task: str, folder: Path, **changes: dict[str, Any]) -> evoopt.Run:
    file = folder / "tasks.py"
    file.write_text(TASKS)
    space = name.partition(" ")[0]
    config = resolve(space, {**SMALL[name], "execution": {"executor": "serial"}, **changes})
    if space == "hpo-lenet":
        config = config.model_copy(update={"space": {"lr": {"min": 1e-4, "max": 0.1, "default": 1e-3}}})
    return evoopt.search(config.with_tasks((f"{file}:{task}",)), out=folder / "run")


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("quick", "scaled", r"every training on task .* diverged: batch loss 2\d{3}.* at step 1 is above "
         "evaluation.max_loss 50; scale the target or raise evaluation.max_loss"),
        ("quick", "broken", "diverged: batch loss nan at step 1; check the task's loss and data"),
        ("quick", "nan", "every training on task .* failed: metric is NaN; mend the task's metric"),
        ("quick", "percent", r"its metric must lie in \[0, 1\], higher is better; found \d"),
        ("gadam-digits", "broken", "every model diverged in generation 0"),
        ("pbt-digits", "broken", "all 4 members have diverged in generation 0: narrow the space"),
        ("pbt-digits of error", "nan", "all 4 members have NaN for a metric in generation 0: mend the"),
        ("pbt-digits of error", "percent", r"its metric must lie in \[0, 1\]"),
        ("hpo-lenet", "broken", "all 4 members have diverged in generation 0"),
        ("hpo-lenet", "nan", "all 4 members have NaN for a metric in generation 0"),
        ("hpo-lenet", "percent", r"its metric must lie in \[0, 1\]"),
    ],
)  # fmt: skip
def test_a_run_without_any_score_stops_with_the_reason_and_stays_readable(
    name: str, task: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(NoScoreError, match=message) as first:
        run(name, task, tmp_path)
    folder = tmp_path / "run"
    with evoopt.open_run(folder) as stopped:
        assert not stopped.finished
        assert stopped.stopped == str(first.value)
    shown = CliRunner().invoke(app, ["show", str(folder)])
    assert shown.exit_code == 0
    assert str(first.value) in shown.output
    assert "Stopped" in write_report(folder).read_text()
    with pytest.raises(NoScoreError) as again:
        evoopt.resume(folder)
    assert str(again.value) == str(first.value)


def test_a_limit_that_fits_the_loss_is_all_that_a_large_one_needs(tmp_path: Path) -> None:
    evaluation = {**SMALL["quick"]["evaluation"], "max_loss": 1e5}
    with run("quick", "scaled", tmp_path, evaluation=evaluation) as finished:
        assert finished.winner["final"]["unfinished_rate"] == 0
        assert finished.stopped is None


@pytest.mark.parametrize("name", ["gadam-digits", "pbt-digits"])
@pytest.mark.parametrize("task", ["nan", "percent"])
def test_a_metric_by_which_nothing_is_chosen_may_be_anything(name: str, task: str, tmp_path: Path) -> None:
    with run(name, task, tmp_path) as done:
        assert done.finished


def test_a_regression_needs_no_metric_where_the_loss_decides() -> None:
    x = torch.randn(60, 3)
    gadam = evoopt.Gadam(
        lambda: nn.Linear(3, 1), nn.functional.mse_loss, population=2, generations=1, steps=1
    )
    gadam.fit((x, x[:, :1]))
    assert math.isfinite(gadam.history_[-1]["best"])


def ended(outcome: Any, reason: str) -> TrainingResult:
    return TrainingResult.unsuccessful(outcome, reason)


def test_the_reason_given_is_the_typical_one_whatever_its_numbers() -> None:
    results = [ended("diverged", f"batch loss {k}.5 at step {k}") for k in range(60, 64)]
    results += [ended("failed", "RuntimeError: no")] * 3 + [ended("stopped", "the update is zero")] * 9
    assert str(no_score("t", results, 50.0, "max_loss", of="adam")) == (
        "every training of adam on task 't' diverged or failed: batch loss 60.5 at step 60 is "
        "above max_loss 50; lower the learning rates, scale the target or raise max_loss"
    )
    assert str(no_score("t", results[-9:])) == "every training on task 't' was stopped: the update is zero"


def test_rounding_is_no_reason_to_refuse_a_metric() -> None:
    check_metrics("t", [0.0, 1.0, 1.0 + 1e-7, -1e-7, float("nan")])
    for metric in (1.01, -0.01, float("inf"), float("-inf")):
        with pytest.raises(NoScoreError, match="found"):
            check_metrics("t", [metric])


def test_a_training_whose_metric_is_nan_has_failed() -> None:
    result = TrainingResult("ok", "", 5, 1.0, 1.0, float("nan"), 2.0)
    assert with_metric(result).reason == "metric is NaN"
    assert with_metric(result).outcome == "failed"
