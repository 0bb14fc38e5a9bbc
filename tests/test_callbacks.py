"""Callbacks hear of every generation and evaluation of every type; loggers write what they hear."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import evoopt
from evoopt.callbacks import CSV, Callback, MLflow, WandB, load_callback, scalars
from evoopt.cli import app
from evoopt.errors import EvooptError
from evoopt.runs import Run
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


class Heard(Callback):
    """Remembers."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.evaluations: list[Any] = []
        self.winners: list[Any] = []

    def on_generation(self, record: Mapping[str, Any]) -> None:
        self.records.append(record)

    def on_evaluation(self, evaluation: Mapping[str, Any]) -> None:
        self.evaluations.append(evaluation)

    def on_end(self, run: Run) -> None:
        self.winners.append(run.winner)


class Logger(SimpleNamespace):
    """In the place of a module that is not installed: notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__(asked=[])

    def __getattr__(self, name: str) -> Any:
        def ask(*arguments: Any, **more: Any) -> Any:
            self.asked.append((name, arguments, more))
            return self if name == "init" else None

        return ask


@pytest.mark.parametrize(
    ("kind", "evaluations", "names"),
    [("genetic", 36, {"fitness"}), ("pbt", 24, {"loss", "metric"}), ("hpo", 6, {"fom", "metric"})],
)
def test_every_type_tells_of_itself(
    kind: str, evaluations: int, names: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, wandb, mlflow = Heard(), Logger(), Logger()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    told = [heard, CSV(tmp_path / "log.csv"), WandB(), MLflow()]
    with evoopt.search(CONFIGS[kind], out=tmp_path / "run", callbacks=told) as run:
        assert heard.records == run.generations
        assert heard.winners == [run.winner]
    assert len(heard.evaluations) == evaluations
    assert names <= set(heard.evaluations[0])
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = [record["best"] for record in heard.records]
    assert [float(row["best"]) for row in rows] == best
    logged = [arguments[0]["best"] for name, arguments, _ in wandb.asked if name == "log"]
    assert (
        logged
        == [arguments[0]["best"] for name, arguments, _ in mlflow.asked if name == "log_metrics"]
        == best
    )
    assert wandb.asked[-1][0] == "finish"
    assert mlflow.asked[-1][0] == "end_run"


def test_a_file_goes_on_in_its_own_columns(tmp_path: Path) -> None:
    for record in (
        {"generation": 0, "best": 1.0, "worst": 0.0},
        {"generation": 1, "meta": 9.0, "worst": 0.5, "best": 2.0},
        {"generation": 0, "best": 3.0},
    ):
        CSV(tmp_path / "log.csv").on_generation(record)
    assert (tmp_path / "log.csv").read_text().split() == [
        "generation,best,worst", "0,1.0,0.0", "1,2.0,0.5", "0,3.0,"
    ]  # fmt: skip


def test_each_of_several_searches_is_a_run_of_its_own_to_a_logger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = Logger()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with Run.create(tmp_path / "run", CONFIGS["genetic"]) as run:
        logger = WandB(mode="offline")
        logger.on_end(run)  # of a run in which nothing was left to do
        for best in (1.0, 2.0):
            logger.on_generation({"generation": 0, "best": best})
            logger.on_end(run)
    own = [
        [("init", (), {"project": "evoopt", "mode": "offline"}), ("log", ({"best": best},), {"step": 0})]
        for best in (1.0, 2.0)
    ]
    assert wandb.asked == [*own[0], ("finish", (), {}), *own[1], ("finish", (), {})]


def test_a_callback_of_the_working_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    Path("heard_here.py").write_text("from evoopt.callbacks import Callback\nclass Mine(Callback): pass\n")
    made = load_callback("heard_here:Mine")
    monkeypatch.delitem(sys.modules, "heard_here")
    assert type(made).__name__ == "Mine"


@pytest.mark.parametrize("name", ["absent:X", "evoopt.callbacks:Absent", "evoopt.callbacks", "pathlib:Path"])
def test_what_is_no_callback_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["search", "--callback", name, "--out", str(tmp_path / "run")])
    assert isinstance(result.exception, EvooptError)
    assert f"callback {name!r}" in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_without_tensorboard_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    out = tmp_path / "run"
    result = CliRunner().invoke(app, ["search", "--out", str(out), "--log-dir", str(tmp_path / "log")])
    assert isinstance(result.exception, EvooptError)
    assert "pip install" in str(result.exception)
    assert not out.exists()
