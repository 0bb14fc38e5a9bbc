"""``--log-dir`` writes every generation's numbers, and is refused at once where TensorBoard is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import evoopt
from evoopt.cli import app
from evoopt.errors import EvooptError
from evoopt.report.watch import scalars
from tests.report.runs import CONFIGS


def test_numbers_are_taken_from_inner_tables_too() -> None:
    record = {
        "generation": 3, "best": 0.5, "best_id": 7, "median": None, "stopped": False, "mean": float("nan"),
        "outcomes": {"ok": 1.0}, "fom": [1.0], "name": "x",
    }  # fmt: skip
    assert dict(scalars(record)) == {"best": 0.5, "stopped": 0.0, "outcomes/ok": 1.0}


def test_a_search_leaves_scalars_of_every_generation(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    space = tmp_path / "space.toml"
    space.write_text(CONFIGS["genetic"].to_toml())
    command = ["search", str(space), "--out", str(tmp_path / "run"), "--log-dir", str(tmp_path / "log"), "-q"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    found = events.EventAccumulator(str(tmp_path / "log")).Reload()
    with evoopt.open_run(tmp_path / "run") as run:
        best = [(record["generation"], record["best"]) for record in run.generations]
    logged = [(event.step, event.value) for event in found.Scalars("best")]
    assert [step for step, _ in logged] == [generation for generation, _ in best]
    assert [value for _, value in logged] == pytest.approx([value for _, value in best])


def test_without_tensorboard_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    out = tmp_path / "run"
    result = CliRunner().invoke(app, ["search", "--out", str(out), "--log-dir", str(tmp_path / "log")])
    assert isinstance(result.exception, EvooptError)
    assert "pip install" in str(result.exception)
    assert not out.exists()
