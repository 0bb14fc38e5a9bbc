"""The published comparison: its contenders, its protocol, and the report that sets numbers side by side."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from evoopt.compare import Place, Protocol
from evoopt.errors import EvooptError
from evoopt.execution import place
from evoopt.training.plan import TrainingResult
from reproductions.marfinetz2025 import published
from reproductions.marfinetz2025.experiment import reproduce_marfinetz2025
from reproductions.marfinetz2025.plots import draw_comparison
from reproductions.marfinetz2025.published import NOTEBOOK, README, RULES, LiteralScore, relative_gain
from tests.compare.stubs import FormulaExecutor


def test_the_five_published_optimizers_are_those_of_the_notebook() -> None:
    assert list(RULES) == ["SGD", "Adam", "AdamW", "RMSProp", "Evolved"]
    assert RULES["Adam"].weight_decay == pytest.approx(1e-4)
    assert RULES["AdamW"].weight_decay == pytest.approx(1e-2)
    assert RULES["RMSProp"].lr == pytest.approx(1e-3)
    assert dict(RULES["SGD"].terms) == {"momentum": 1.0}  # a mean of gradients: ten times the usual handicap
    assert all(rule.lr > 0 for rule in RULES.values())


@pytest.mark.parametrize("table", [README, NOTEBOOK])
def test_published_overall_numbers_are_means_of_their_rows(table: Any) -> None:
    for name, row in table.items():
        mean = sum(value for task, value in row.items() if task != "overall") / 3
        assert row["overall"] == pytest.approx(mean, abs=1.01e-4), name


def test_the_literal_comparison_follows_the_published_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    def result(member: Any, job: Any) -> TrainingResult:
        if "rms_norm" in dict(member.terms):
            return TrainingResult.unsuccessful("diverged", "loss is nan")
        return TrainingResult("ok", "", 1000, 0.4, 0.5, 0.9, 0.0)

    executor, options = FormulaExecutor(result), []
    monkeypatch.setattr(place, "make_executor", lambda k, f, setup, **_: options.append(setup) or executor)
    scores = published.train_literally(("mnist", "digits"))
    assert scores["mnist"]["Adam"].fitness == pytest.approx((0.93,) * 3)  # 0.9 + 0.05*(1 - 0.4)
    assert scores["mnist"]["RMSProp"].fitness == (-1.0,) * 3
    assert {job.plan.seed for job in executor.jobs} == {0, 1, 2}
    plans = {(job.plan.steps, job.plan.drop_last, job.plan.split) for job in executor.jobs}
    assert plans == {(1000, False, "test")}
    mnist, digits = (setup.data for setup in options)
    assert (mnist.train_size, mnist.validation_fraction, mnist.unseal_test) == (15_000, 0.0, True)
    assert digits.train_size is None


def test_relative_gain_is_paired_by_seed() -> None:
    nan = math.nan
    scores = {
        "Evolved": LiteralScore((1.1, 0.9, -1.0, 1.0, 1.0), (0.9, 0.9, nan, 0.9, 0.9)),
        "Adam": LiteralScore((1.0, 1.0, 1.0, -1.0, 0.0), (0.9, 0.9, 0.9, nan, 0.0)),
    }
    # There is none where one diverged, whose fitness is a penalty, or without a fitness to gain on.
    assert relative_gain(scores) == pytest.approx([0.1, -0.1, nan, nan, nan], nan_ok=True)


@pytest.mark.usefixtures("undrawn")
def test_a_small_reproduction_writes_both_comparisons_side_by_side(tmp_path: Path) -> None:
    found = reproduce_marfinetz2025(
        tasks=("digits",),
        steps=15,
        seeds=2,
        honest=Protocol(("digits",), steps=12, trials=9, tuning_seeds=1, seeds=6, engine="sequential"),
        place=Place("serial"),
        out=tmp_path,
    )
    text = (tmp_path / "reproduction.md").read_text()
    assert text == found.text
    for part in (
        "15 steps, 2 seeds (published: 1000 steps, 3 seeds)",
        "| Evolved |",
        "--tasks digits --steps 15 --seeds 2 --trials 9 --final-seeds 6 --honest-steps 12",
        "Evolved over untuned Adam here",
        "the paper's abstract claims",
        "- marfinetz2025: ",
        "best settings",
    ):
        assert part in text
    data = json.loads((tmp_path / "reproduction.json").read_text())
    assert set(data["versions"]) == {"evoopt", "torch", "python"}
    assert len(data["literal"]["digits"]["Adam"]["fitness"]) == 2
    assert all((tmp_path / f"{name}.png").exists() for name in ("differences", "comparison"))


def test_the_bars_are_means_with_students_interval_beside_the_published_numbers() -> None:
    scores = {name: LiteralScore((0.8, 0.9, 1.0), ()) for name in RULES} | {
        "RMSProp": LiteralScore((0.9, -1.0, 0.9), ())
    }
    figure = draw_comparison({"mnist": scores, "digits": scores})["comparison"]
    assert figure is not None
    mnist, digits = figure.axes
    heights = [bar.get_height() for bar in mnist.patches]
    assert heights == pytest.approx([0.9, 0.9, 0.9, 0.8 / 3, 0.9])  # in the order of RULES; -1 counts
    low, high = mnist.collections[0].get_segments()[0][:, 1]
    margin = 4.302653 * 0.1 / 3**0.5  # the 97.5 % quantile of t with 2 degrees of freedom
    assert (low, high) == pytest.approx((0.9 - margin, 0.9 + margin))
    shown = [line.get_label() for line in mnist.lines if "published" in str(line.get_label())]
    assert shown == ["published, README", "published, notebook"]
    assert not any("published" in str(line.get_label()) for line in digits.lines)


@pytest.mark.parametrize("wrong", [{"seeds": 0}, {"steps": 0}, {"tasks": ()}])
def test_nothing_to_do_is_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(EvooptError, match="must be at least 1, not 0"):
        reproduce_marfinetz2025(out=tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_compared_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(EvooptError, match="trials"):
        reproduce_marfinetz2025(
            tasks=("digits",), honest=Protocol(("digits",), 10, trials=2), out=tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()
