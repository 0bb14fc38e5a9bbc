"""Whole searches on real data in real processes: same bytes anywhere, exact resume, sealed test data."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import evoopt
from evoopt import api
from evoopt.callbacks import Callback
from evoopt.errors import EvooptError
from evoopt.runs import Run
from evoopt.systems.optimizer import optimizer_search
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.tasks import DataOptions, get_task, load_task_data

SETTINGS: dict[str, dict[str, object]] = {
    "search": {
        "population": 6,
        "generations": 3,
        "seed": 3,
        "finalists": 2,
        "final_replicates": 2,
        "compare": False,
    },
    "evaluation": {"tasks": ["digits", "digits_cnn"], "steps": 12, "replicates": 1, "chunk_size": 3},
}


def settings(
    executor: str = "serial", workers: int | None = None, engine: str = "sequential"
) -> OptimizerConfig:
    changes = {"execution": {"executor": executor, "workers": workers}, "evaluation": {"engine": engine}}
    return OptimizerConfig().override(SETTINGS).override(changes)


@pytest.fixture(scope="module")
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp(request.param) / "run"
    with evoopt.search(settings(engine=request.param), out=folder) as run:
        return request.param, run.result_json()


# How rules are trained in a chunk is the same in any process: one engine each.
@pytest.mark.parametrize("reference", ["sequential"], indirect=True, scope="module")
def test_a_pool_gives_the_same_bytes(reference: tuple[str, str], tmp_path: Path) -> None:
    engine, expected = reference
    with evoopt.search(settings("process", 2, engine), out=tmp_path / "run") as run:
        assert run.result_json() == expected
        assert (run.folder / "result.json").read_text() == expected


@pytest.mark.parametrize("reference", ["batched"], indirect=True, scope="module")
def test_a_run_killed_in_mid_generation_resumes_to_the_same_bytes(
    reference: tuple[str, str], tmp_path: Path
) -> None:
    engine, expected = reference
    folder, space = tmp_path / "run", tmp_path / "space.toml"
    space.write_text(settings("process", 1, engine).to_toml())
    command = [sys.executable, "-m", "evoopt", "search", str(space), "--out", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        wait_for_evaluations(folder / "run.sqlite", 20, process)
    finally:
        process.kill()
        process.wait()
    with evoopt.open_run(folder) as run:
        assert not run.finished
    with evoopt.resume(folder, overrides={"executor": "serial"}) as run:
        # The name of the space is part of the result; everything else must agree to the byte.
        assert run.result_json().replace('"name": "space"', '"name": "custom"') == expected


@pytest.mark.parametrize(("stop", "executor"), [(signal.SIGINT, "process"), (signal.SIGTERM, "serial")])
def test_an_interrupt_stops_cleanly_and_says_how_to_go_on(
    stop: signal.Signals, executor: str, tmp_path: Path
) -> None:
    folder, space = tmp_path / "run", tmp_path / "space.toml"
    endless = {"search": {"generations": 200}, "evaluation": {"tasks": ["digits"], "steps": 2}}
    space.write_text(settings(executor, 1).override(endless).to_toml())
    command = [sys.executable, "-m", "evoopt", "search", str(space), "--out", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_evaluations(folder / "run.sqlite", 8, process)
        process.send_signal(stop)
        _, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.strip().endswith(f"Go on with: evoopt resume {folder}")
    assert "Traceback" not in errors
    with evoopt.open_run(folder) as run:
        assert len(list(run.store.evaluations())) >= 8, "what was done is kept"


def wait_for_evaluations(
    path: Path, count: int, process: subprocess.Popen[str] | subprocess.Popen[bytes]
) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, "the search ended too early"
        if path.exists() and (path.parent / "config.toml").exists():
            db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
            try:
                if db.execute("SELECT COUNT(*) FROM evaluations").fetchone()[0] >= count:
                    return
            finally:
                db.close()
        time.sleep(0.02)
    pytest.fail("no evaluations within five minutes")


def test_a_search_never_opens_the_test_split(tmp_path: Path) -> None:
    file = tmp_path / "nosy.py"
    file.write_text(
        "from dataclasses import replace\n"
        "from evoopt.tasks import get_task\n"
        "def make_task():\n"
        "    task = get_task('digits')\n"
        "    def load(options):\n"
        "        data = task.load(options)\n"
        "        data.test.open()\n"
        "        return data\n"
        "    return replace(task, name='nosy', load=load)\n"
    )
    changes = {"evaluation": {"tasks": [f"{file}:make_task"]}}
    with pytest.raises(EvooptError, match="sealed"):
        evoopt.search(settings().override(changes), out=tmp_path / "run")


def test_a_task_of_ones_own_is_searched_on(tmp_path: Path) -> None:
    file = tmp_path / "wine.py"
    source = Path(__file__).parent / "tasks" / "fixtures"
    example = next(path for path in sorted(source.glob("*.py")) if "def make_task" in path.read_text())
    file.write_text(example.read_text())
    changes = {"evaluation": {"tasks": [f"{file}:make_task"]}, "search": {"generations": 1}}
    with evoopt.search(settings().override(changes), out=tmp_path / "run") as run:
        assert run.store.outcome_counts()["ok"] > 0
        assert 0 <= run.winner["search_fitness"] <= 1


@pytest.mark.data
def test_a_search_runs_on_real_images(tmp_path: Path) -> None:
    try:
        load_task_data(get_task("mnist"), DataOptions(download=False))
    except EvooptError as error:
        pytest.skip(str(error))
    changes = {
        "evaluation": {"tasks": ["mnist"], "steps": 3, "train_size": 1000},
        "search": {"population": 2, "generations": 1, "elites": 1, "finalists": 1, "final_replicates": 1},
    }
    with evoopt.search(settings().override(changes), out=tmp_path / "run") as run:
        assert sum(run.store.outcome_counts().values()) == 3


def test_python_calls_do_what_the_commands_do(tmp_path: Path) -> None:
    with evoopt.search(settings(), out=tmp_path / "run") as run:
        assert run.rule.key == run.winner["key"]
        assert len(run.generations) == 3
        expected = run.result_json()
    assert evoopt.open_run(tmp_path / "run").finished
    assert os.listdir(tmp_path) == ["run"]
    (tmp_path / "run" / "result.json").unlink()  # as an interruption at the very end leaves it
    evoopt.resume(tmp_path / "run").close()
    assert (tmp_path / "run" / "result.json").read_text() == expected


@pytest.mark.parametrize(
    ("execution", "ms", "time"),
    [
        ({"executor": "serial", "workers": 3}, 400.0, "2.0 hours on 1 process"),
        ({"executor": "serial"}, 300.0, "90 min on 1 process"),
        ({"executor": "process", "workers": 2}, 400.0, "60 min on 2 processes"),
        ({"executor": "process"}, 400.0, "40 min on 3 processes"),
    ],
)
def test_the_expected_time_is_that_of_all_trainings_on_all_workers(
    execution: dict[str, Any], ms: float, time: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizer_search, "usable_cores", lambda: 7)
    changes = {"execution": execution, "evaluation": {"steps": 1000, "threads_per_worker": 2}}
    told = optimizer_search.expected_time(settings().override(changes), "some/where/digits.py:make", ms)
    per_step, total = told.split("; ")
    assert per_step == f"digits.py:make: {ms:g} ms per step of a training"
    assert total == f"up to 18 trainings of 1,000 steps take about {time}"


def test_restarts_of_a_search_by_gain_are_ranked_by_their_finals_and_go_on(tmp_path: Path) -> None:
    changes: dict[str, dict[str, Any]] = {
        "evaluation": {
            "tasks": ["wine"], "meta_tasks": ["breast_cancer"], "fitness": "gain", "rates": 3, "rungs": [0.5],
            "baseline_trials": 6, "steps": 8,
        },
        "search": {"generations": 1, "finalists": 2, "final_replicates": 2},
    }  # fmt: skip
    config = settings().override(changes)
    seeds = [config.seed, config.seed + 1]
    with pytest.raises(EvooptError, match="finals"):
        evoopt.search_restarts("gadam-digits", 2)
    with evoopt.search(config.with_options({"seed": seeds[1]}), out=tmp_path / f"seed-{seeds[1]}") as run:
        known = run.store.meta("baseline")
        expected = run.result_json()
    assert set(known) == {"wine", "breast_cancer"}
    runs = evoopt.search_restarts(config, 2, out=tmp_path)
    scores = [run.winner["final"]["score"] for run in runs]
    assert scores == sorted(scores, reverse=True)
    assert {run.folder.name for run in runs} == {f"seed-{seed}" for seed in seeds}
    assert expected in [run.result_json() for run in runs]
    for run in runs:
        assert set(run.winner["gains"]) == {"breast_cancer"}
        run.store.close()


def test_restarts_run_as_they_are_asked_for_and_tell_of_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def noting(name: str) -> Callable[..., Any]:
        def called(what: Any, **more: Any) -> Any:
            calls.append((name, what, more))
            return SimpleNamespace(winner={"final": None, "search_fitness": float(len(calls))})

        return called

    for name in ("search", "resume"):
        monkeypatch.setattr(api, name, noting(name))
    begun = settings().with_options({"seed": 4, "max_trainings": 90})
    Run.create(tmp_path / "seed-4", begun).close()
    with Run.create(tmp_path / "seed-5", begun.with_options({"seed": 5})) as run:
        run.note_end("500 trainings are done (--max-trainings 500)")
    config = settings("process", 2).with_options({"max_trainings": 500})
    told: dict[str, Any] = {"quiet": False, "on_generation": print, "callbacks": [Callback()]}
    runs = evoopt.search_restarts(config, 3, out=tmp_path, **told)
    own = config.execution.model_dump()
    assert calls == [
        ("search", config.with_options({"seed": 3}), {"out": tmp_path / "seed-3", **told}),
        ("resume", tmp_path / "seed-4", {"overrides": own, "limits": {"max_trainings": 500}, **told}),
        ("resume", tmp_path / "seed-5", {"overrides": own, "limits": {}, **told}),
    ]
    assert [run.winner["search_fitness"] for run in runs] == [3.0, 2.0, 1.0]
