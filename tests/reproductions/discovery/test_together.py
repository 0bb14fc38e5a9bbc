"""What comparisons of single tasks say together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from evoopt.cli.app import main
from evoopt.compare.analysis import analyse
from evoopt.compare.command import Report, write_report
from evoopt.errors import EvooptError
from reproductions.__main__ import app
from reproductions.discovery.together import against, joined
from tests.compare.stubs import comparison_of

SEEDS = 12
RIVAL = tuple(0.8 + 0.01 * (-1) ** k for k in range(SEEDS))
SPREAD = float(np.std(RIVAL, ddof=1))


def test_gains_are_in_the_opponents_spread_and_levels_are_those_of_all_tasks() -> None:
    easy = comparison_of({"a": {"new": [v + 0.02 for v in RIVAL], "adam": RIVAL}})
    lost = comparison_of({"b": {"new": [v - 0.01 for v in RIVAL], "adam": RIVAL}})
    same = comparison_of({"c": {"new": list(RIVAL), "adam": RIVAL}})
    flat = comparison_of({"d": {"new": [0.9001] * SEEDS, "adam": [0.9] * SEEDS}})
    found = against("new", "adam", joined([easy, lost, same, flat]))

    gains = {task: one.gain for task, one in found.tasks.items()}
    assert gains == pytest.approx({"a": 0.02 / SPREAD, "b": -0.01 / SPREAD, "c": 0.0, "d": 0.1})
    assert found.gain == pytest.approx(sum(gains.values()) / 4)
    assert found.gain_interval == pytest.approx((found.gain, found.gain))  # all seeds differ alike
    findings = [one.finding for one in found.tasks.values()]
    assert findings == ["better", "worse", "no detectable difference", "better"]
    assert (found.count("better"), found.count("worse")) == (2, 1)
    least = 2 / 2**SEEDS  # of the signed-rank test
    assert found.tasks["a"].p_adjusted == pytest.approx(4 * least)
    assert found.error_ratio == pytest.approx((0.18 / 0.2 * 0.21 / 0.2 * 0.0999 / 0.1) ** 0.25)


def test_the_reference_of_a_comparison_is_no_matter() -> None:
    one = comparison_of({"a": {"new": [v + 0.02 for v in RIVAL], "lion": RIVAL, "adam": [0.5] * SEEDS}})
    assert against("new", "lion", one) == against("new", "lion", replace(one, reference="lion"))


@pytest.mark.parametrize(
    ("comparisons", "message"),
    [
        ([], "found: none"),
        ([{"a": {"new": RIVAL, "adam": RIVAL}}] * 2, "found: a, a"),
        ([{"a": {"new": RIVAL, "adam": RIVAL}}, {"b": {"old": RIVAL, "adam": RIVAL}}], "same contenders"),
    ],
)
def test_what_does_not_fit_together_is_refused(comparisons: list[dict], message: str) -> None:
    with pytest.raises(EvooptError, match=message):
        joined([comparison_of(scores) for scores in comparisons])


def test_an_interval_needs_two_seeds() -> None:
    found = against("new", "adam", comparison_of({"a": {"new": [0.9, np.nan], "adam": [0.8, 0.8]}}))
    assert found.gain == pytest.approx(100)
    assert np.isnan(found.gain_interval).all()


@pytest.mark.parametrize("seeds", [4, 20])
def test_the_interval_of_a_gain_on_one_task_is_students(seeds: int) -> None:
    rng = np.random.default_rng(0)
    rival, ours = rng.normal(0.8, 0.01, seeds), rng.normal(0.82, 0.02, seeds)
    found = against("new", "adam", comparison_of({"a": {"new": list(ours), "adam": list(rival)}}))
    gains = (ours - rival) / rival.std(ddof=1)
    students = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert found.gain_interval == pytest.approx(
        tuple(students), abs=0.05 * float(students.high - students.low)
    )


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    for task, gain in (("a", 0.02), ("b", 0.0)):
        comparison = comparison_of({task: {"new": [v + gain for v in RIVAL], "adam": RIVAL}})
        (tmp_path / task).mkdir()
        write_report(Report(comparison, analyse(comparison)), tmp_path / task)
    return [str(tmp_path / task) for task in "ab"]


def test_the_command_reads_folders(folders: list[str]) -> None:
    said = CliRunner().invoke(app, ["discovery", "new", *folders]).output
    assert "| adam | +2.00 (+2.00 to +2.00) **+** | +0.00 (+0.00 to +0.00) |" in said
    assert "| adam | 1 | 0 |" in said


def test_a_rule_that_is_not_there_gets_one_line(
    folders: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["reproductions", "discovery", "knew", *folders])
    with pytest.raises(SystemExit, match="2"):
        main(app)
    assert capsys.readouterr().err == (
        "error: unknown contender 'knew'. Did you mean 'new'? Known: adam, new.\n"
    )
