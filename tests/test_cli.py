"""The command line in real processes: one clear line and exit code 2 for what people get wrong."""

from __future__ import annotations

import inspect
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import urllib.request
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import torch
import typer
from typer.testing import CliRunner

import evoopt
from evoopt import api, compare, export, optim
from evoopt.cli import app, main
from evoopt.errors import EvooptError, EvooptWarning
from evoopt.runs import Run
from evoopt.systems.hyperparameters import pbt_search
from tests.report.runs import CONFIGS, make_run

TINY = ["--task", "digits", "--population", "4", "--generations", "2", "--steps", "5", "--no-compare"]

TINY_SETTINGS: dict[str, dict[str, object]] = {
    "search": {"population": 4, "generations": 2, "compare": False},
    "evaluation": {"tasks": ["digits"], "steps": 5},
    "execution": {"executor": "serial"},
}


def evoopt_process(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evoopt", *arguments],
        cwd=cwd,
        env={**{k: v for k, v in os.environ.items() if k != "EVOOPT_DATA"}, **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert isinstance(result.exception, EvooptError), result.output
    return str(result.exception)


def test_a_search_from_any_folder_leaves_a_run_that_show_explains_and_resume_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = evoopt_process("search", *TINY, "--executor", "serial", cwd=tmp_path)
    assert searched.returncode == 0, searched.stderr
    lines = searched.stderr.splitlines()  # no progress bar where the output is no terminal
    assert [line.partition("  best ")[0] for line in lines] == ["generation 0", "generation 1"]
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("quick-")
    assert {"config.toml", "run.sqlite", "result.json"} <= {file.name for file in folder.iterdir()}
    shown = CliRunner().invoke(app, ["show", str(folder)])
    assert shown.exit_code == 0
    for part in ("w -= lr * (", "lineage of individual", "terms by generation", "finished", "fresh seeds"):
        assert part in shown.output
    monkeypatch.chdir(tmp_path)
    resumed = CliRunner().invoke(app, ["resume", str(folder.relative_to(tmp_path))])
    assert (resumed.exit_code, resumed.stdout) == (0, searched.stdout)
    assert resumed.stderr == f"nothing was left to do: {folder.relative_to(tmp_path)} is finished\n"
    again = refused("search", *TINY, "--out", str(folder))
    assert "not empty" in again
    assert "\n" not in again


def test_a_preset_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["export", "muon_sgd"])
    assert result.output == "wrote muonsgd.py: from muonsgd import MuonSGD\n"
    assert "class MuonSGD(Optimizer)" in (tmp_path / "muonsgd.py").read_text()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished search, to be read."""
    folder = tmp_path_factory.mktemp("searched") / "run"
    evoopt.search("quick", out=folder, overrides=TINY_SETTINGS).close()
    return folder


def test_the_winner_of_a_run_is_exported_as_a_class(searched: Path, tmp_path: Path) -> None:
    run, file = searched, tmp_path / "my_optimizer.py"
    with Run(run) as finished:
        rule = finished.rule
    result = CliRunner().invoke(app, ["export", str(run), "-o", str(file), "--name", "MyOptimizer"])
    assert result.exit_code == 0, result.output
    source = file.read_text()
    assert "class MyOptimizer(Optimizer)" in source
    assert rule.key in source
    assert "run run, space 'quick', seed 42" in source
    assert "exists already" in refused("export", str(run), "-o", str(file))
    weights = torch.nn.Parameter(torch.ones(3))
    weights.grad = torch.tensor([1.0, -2.0, 3.0])
    made = export.from_run(run)
    scheduled = "total_steps" in inspect.signature(made).parameters
    exported = made([weights], **({"total_steps": 5} if scheduled else {}))
    expected = torch.nn.Parameter(torch.ones(3))
    expected.grad = weights.grad.clone()
    interpreted = optim.EvolvedOptimizer([expected], rule, total_steps=5)
    exported.step()
    interpreted.step()
    torch.testing.assert_close(weights, expected)


@pytest.mark.parametrize("arguments", [["tasks"], ["export", "--help"], ["--version"]])
def test_a_reader_that_went_away_is_told_by_the_exit_code_alone(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "evoopt", *arguments]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_a_report_is_written_where_the_locale_is_ascii(searched: Path, tmp_path: Path) -> None:
    run = tmp_path / "Übung"
    shutil.copytree(searched, run)
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    for command in ("report", "show"):
        result = evoopt_process(command, str(run), cwd=tmp_path, **ascii_only)
        assert (result.returncode, result.stderr) == (0, "")
    assert "Übung" in (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "quik"], "'quick'"),
        (["search", "--task", "digist"], "'digits'"),
        (["search", "--task", "absent.py:make_task"], "absent.py does not exist"),
        (["search", "--population", "1"], "--population: "),
        (["search", "--executor", "threads"], "executor"),
        (["search", "--device", "tpu"], "device"),
        (["search", "--device", "cuda:99"], "'cuda:99' is not available"),
        (["resume", "nowhere"], "not a run folder"),
        (["show", "nowhere"], "not a run folder"),
        (["show", "~no-such-user/run"], "not a run folder"),
        (["search", "--out", "x" * 300], "File name too long"),
        (["compare", "adam", "--seed", "-1"], "seed must be at least 0, not -1"),
        *(
            ([*words, "--scheduler", "tcp://a:1", "--executor", "process"], "leave one of them out")
            for words in (["search"], ["resume", "nowhere"], ["compare", "adam"])
        ),
    ],
)
def test_mistakes_are_answered_in_one_line(arguments: list[str], message: str) -> None:
    answer = refused(*arguments)
    assert message in answer
    assert "\n" not in answer


def test_what_the_system_refuses_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    (tmp_path / "deep.toml").write_text(f"x = {'[' * 20_000}")
    for arguments, message in (
        (["search", "~no-such-user/mine.toml"], "a path that begins with ~"),
        (["search", "deep.toml"], "deep.toml is not valid TOML"),
        (["export", "adam", "--out", "y" * 300 + ".py"], "File name too long"),
    ):
        monkeypatch.setattr(sys, "argv", ["evoopt", *arguments])
        with pytest.raises(SystemExit, match=r"^2$"):
            main()
        errors = capsys.readouterr().err
        assert errors.startswith("error: ")
        assert message in errors
        assert errors.count("\n") == 1
    if Path("/dev/full").exists():
        with Path("/dev/full").open("w") as full:
            told = subprocess.run(
                [sys.executable, "-m", "evoopt", "spaces"],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert (told.returncode, told.stderr) == (2, "error: No space left on device\n")


def test_what_the_parser_refuses_is_said_as_all_else_is(tmp_path: Path) -> None:
    result = evoopt_process("search", "--populaton", "3", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("error: No such option: --populaton")
    assert "search --help" in result.stderr
    assert result.stderr.count("\n") == 1


def test_missing_data_without_a_network_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVOOPT_DATA", raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it keeps the proxies that it first found
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    answer = refused(
        "search", "--task", "mnist", "--population", "4", "--generations", "1", "--steps", "1",
        "--no-compare", "--executor", "serial", "--data-dir", str(tmp_path), "--out", str(tmp_path / "run"),
    )  # fmt: skip
    assert "mnist" in answer
    assert "\n" not in answer


def test_a_run_is_shown_whatever_the_terminal_can_write(tmp_path: Path) -> None:
    folder = make_run("optimizer", tmp_path / os.fsdecode(b"run \xff"))
    shown = evoopt_process("show", str(folder), cwd=tmp_path, PYTHONIOENCODING="utf-8:strict")
    assert shown.returncode == 0, shown.stderr
    assert r"run \udcff (finished)" in shown.stdout


def test_the_version_is_shown() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"evoopt {evoopt.__version__}\n"


def test_a_warning_of_ours_is_a_line_without_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    def warn() -> None:
        for kind in (EvooptWarning, UserWarning):
            told.append(warnings.formatwarning(kind("slow"), kind, "place.py", 7))

    commands = typer.Typer()
    commands.command()(warn)
    monkeypatch.setattr(sys, "argv", ["evoopt"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with pytest.raises(SystemExit, match="0"):
        main(commands)
    assert told[0] == "warning: slow\n"
    assert told[1].startswith("place.py:7: UserWarning: slow")


@pytest.mark.parametrize(
    ("command", "written", "said"),
    [
        ("search", "", ""),
        ("search", "config.toml", "everything done so far is kept. Go on with: evoopt resume {out}"),
        ("search --restarts 2", "seed-42/config.toml", "repeat the command with --out {out} to go on"),
        ("compare adam", "", "the same command with --out {out} goes on from here"),
    ],
)
def test_who_stops_a_command_is_told_how_to_go_on(
    command: str, written: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def stopped(*_: Any, **__: Any) -> NoReturn:
        (out / written).parent.mkdir(parents=True, exist_ok=True)
        if written:
            (out / written).touch()
        raise KeyboardInterrupt

    for room, name in ((api, "search"), (api, "search_restarts"), (compare, "compare")):
        monkeypatch.setattr(room, name, stopped)
    result = CliRunner().invoke(app, [*command.split(), "--out", str(out)])
    assert (result.exit_code, result.stderr) == (130, f"stopped; {said.format(out=out)}\n" if said else "")


@pytest.mark.parametrize(
    "limit",
    [[], ["--max-trainings", "8"], ["--max-time", "1h"], ["--max-trainings", "99"], ["--patience", "9"]],
    ids=" ".join,
)
def test_a_run_that_a_limit_ended_is_done_unless_another_is_given(
    limit: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Run.create(tmp_path / "run", CONFIGS["genetic"]) as run:
        run.store.save_winner({})
        run.note_end("8 trainings are done (--max-trainings 8)")

    def called(*_: Any, **__: Any) -> NoReturn:
        raise EvooptError("called")

    monkeypatch.setattr(api, "resume", called)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["resume", "run", *limit])
    hint = "run is finished; --max-time, --max-trainings or --patience has it go on"
    assert str(result.exception) == "called"
    assert result.stderr == ("" if limit and limit[1] != "8" else f"nothing was left to do: {hint}\n")


@pytest.fixture(scope="module")
def population_based(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run("pbt", tmp_path_factory.mktemp("runs") / "pbt")


def test_the_schedule_of_a_run_is_printed_and_drawn(population_based: Path, tmp_path: Path) -> None:
    with Run(population_based) as run:
        winner = run.winner["schedule"]

    def shown(*more: str) -> str:
        result = CliRunner().invoke(app, ["schedule", str(population_based), *more])
        assert result.exit_code == 0, result.output
        return result.output

    assert json.loads(shown("--json")) == winner
    table = [line.split() for line in shown("--plot", str(tmp_path / "drawn.svg")).splitlines()]
    assert table[0] == ["generation", *winner["values"][0]]
    assert table[1:-1] == [
        [str(k), *(f"{value:.4g}" for value in values.values())] for k, values in enumerate(winner["values"])
    ]
    assert (tmp_path / "drawn.svg").read_text().startswith("<?xml")
    policy = [json.loads(line) for line in shown("--ray").splitlines()]
    assert (policy[0][-1], policy[-1][-1]) == (winner["values"][0], winner["values"][-1])
    Run.create(tmp_path / "other", CONFIGS["hpo"]).close()
    assert "has no schedule" in refused("schedule", str(tmp_path / "other"))


def test_a_schedule_is_replayed_beside_the_defaults(population_based: Path) -> None:
    with Run(population_based) as run:
        results = pbt_search.replay_run(run, range(7, 9))
    assert results[0].losses[-1] != results[1].losses[-1]
    said = CliRunner().invoke(app, ["replay", str(population_based), "--seeds", "2", "--first", "7"]).output
    spreads = [
        f"{statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f}"
        for result in results
        for values in (result.losses[-1], result.metrics[-1])
    ]
    assert said.splitlines() == [
        "schedule  loss {}, metric {}".format(*spreads[:2]),
        "defaults  loss {}, metric {}".format(*spreads[2:]),
        "on validation data, 2 seeds, mean ± standard deviation",
    ]


def test_trainings_of_a_replay_that_diverged_are_counted(
    population_based: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan = math.nan
    some = SimpleNamespace(losses=[(9.0,) * 3, (1.0, nan, 3.0)], metrics=[(0.0,) * 3, (0.5, nan, math.inf)])
    none = SimpleNamespace(losses=[(nan,) * 3], metrics=[(nan,) * 3])
    monkeypatch.setattr(pbt_search, "replay_run", lambda *_: (some, none))
    said = CliRunner().invoke(app, ["replay", str(population_based), "--seeds", "3"]).output.splitlines()
    assert said[:2] == [
        "schedule  loss 2.0000 ± 1.4142 (1 of 3 diverged), metric 0.5000 (2 of 3 diverged)",
        "defaults  loss - (3 of 3 diverged), metric - (3 of 3 diverged)",
    ]
