"""What every type of evolving models promises: same bytes anywhere, exact resume, a usable end."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import evoopt
from evoopt.cli import app
from evoopt.config import RunConfig, load_space, parse_config
from evoopt.errors import EvooptError
from evoopt.tasks import DataOptions, get_task, load_task_data
from evoopt.training.sequential import evaluate

RUNS: dict[str, dict[str, Any]] = {
    "gadam-digits": {
        "gadam": {"population": 4, "generations": 3},
        "training": {"task": "digits", "steps": 5, "chunk_size": 2},
    },
    "genetic-digits": {
        "genetic": {"population": 8, "generations": 20, "head_start": 10},
        "scoring": {"examples": 100, "chunk_size": 3},
    },
    "pbt-digits": {
        "recombination": {"population": 4, "generations": 4},
        "training": {"task": "digits", "steps": 5, "chunk_size": 2},
    },
}


def config(name: str, executor: str = "serial", workers: int | None = None) -> RunConfig:
    changes = {**RUNS[name], "execution": {"executor": executor, "workers": workers}}
    return load_space(name).override(changes).model_copy(update={"name": name})


@pytest.fixture(scope="module", params=RUNS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param) / "run"
    evoopt.search(config(request.param), out=folder).close()
    return request.param, folder


def results(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "result.json").read_bytes(), (folder / "model.safetensors").read_bytes()


# Members of gadam are trained by the workers that train those of pbt, and saved likewise.
TWO = pytest.mark.parametrize("whole", ["genetic-digits", "pbt-digits"], indirect=True, scope="module")


@TWO
def test_a_pool_gives_the_same_bytes_as_one_process(whole: tuple[str, Path], tmp_path: Path) -> None:
    name, expected = whole
    evoopt.search(config(name, "process", 2), out=tmp_path / "run").close()
    assert results(tmp_path / "run") == results(expected)


def test_the_default_type_of_numbers_of_the_program_changes_nothing(
    whole: tuple[str, Path], tmp_path: Path
) -> None:
    name, expected = whole
    torch.set_default_dtype(torch.float64)
    try:
        evoopt.search(config(name), out=tmp_path / "run").close()
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert results(tmp_path / "run") == results(expected)


def inside_a_generation(folder: Path) -> bool:
    try:
        with evoopt.open_run(folder) as run:
            return run.store.checkpoint() is not None and bool(run.store.select("SELECT 1 FROM chunks"))
    except EvooptError:  # the folder is being made
        return False


@TWO
def test_a_run_killed_inside_a_generation_resumes_to_the_same_bytes(
    whole: tuple[str, Path], tmp_path: Path
) -> None:
    name, expected = whole
    space, folder = tmp_path / f"{name}.toml", tmp_path / "run"
    space.write_text(config(name).to_toml())
    command = [sys.executable, "-m", "evoopt", "search", str(space), "--out", str(folder), "-q"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while process.poll() is None and not inside_a_generation(folder):
            assert time.monotonic() < deadline, "no finished chunk within two minutes"
            time.sleep(0.002)
        assert process.poll() in (None, 0), "it was not to fail"
    finally:
        process.kill()
        process.wait()
    with evoopt.open_run(folder) as run:
        if run.finished:
            pytest.skip("the run was over before it could be killed")
    evoopt.resume(folder).close()
    assert results(folder) == results(expected)
    # The last checkpoint is all that stays of the weights on the way.
    assert len(list(folder.glob("weights/*"))) <= 2


def test_the_winner_is_the_model_in_the_folder_and_was_tested_once(whole: tuple[str, Path]) -> None:
    _name, folder = whole
    with evoopt.open_run(folder) as run:
        winner, task = run.winner, get_task(run.config.tasks[0])
        data = load_task_data(task, DataOptions(seed=run.config.seed, unseal_test=True))
    model = task.make_model()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    assert sum(p.numel() for p in model.parameters()) == winner["parameters"]
    assert winner["test"]["examples"] == 360
    loss, metric = evaluate(task, model, data.test.open())
    assert (winner["test"]["loss"], winner["test"]["metric"]) == pytest.approx((loss, metric), rel=1e-5)


@pytest.mark.parametrize("harm", ["missing", "cut"])
def test_a_finished_run_whose_files_are_lost_has_them_anew_when_it_is_resumed(
    harm: str, whole: tuple[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole[1], folder)
    for file in (folder / "result.json", folder / "model.safetensors"):
        file.write_bytes(file.read_bytes()[:-9])
        if harm == "missing":
            file.unlink()
    shown = CliRunner().invoke(app, ["show", str(folder)])
    assert "gone or cut off, anew by: evoopt resume" in shown.output
    resumed = CliRunner().invoke(app, ["resume", str(folder), "-q"])
    assert (resumed.exit_code, resumed.stderr) == (0, "")
    assert "gone or" not in resumed.output
    assert results(folder) == results(whole[1])


def test_show_and_result_tell_the_story(whole: tuple[str, Path]) -> None:
    _name, folder = whole
    shown = CliRunner().invoke(app, ["show", str(folder)])
    assert shown.exit_code == 0, shown.output
    assert "(finished)" in shown.output
    assert "test loss" in shown.output
    with evoopt.open_run(folder) as run:
        assert f"\n{run.generations[-1]['generation']:>4} " in shown.output


def test_what_needs_an_optimizer_says_that_this_is_none(whole: tuple[str, Path], tmp_path: Path) -> None:
    from evoopt.export import write_export

    _name, folder = whole
    with pytest.raises(EvooptError, match="not an optimizer"):
        write_export(str(folder), tmp_path / "x.py", "X")


def test_options_without_meaning_are_refused(whole: tuple[str, Path]) -> None:
    name, _ = whole
    with pytest.raises(EvooptError, match="--compare means nothing to search space"):
        load_space(name).with_options({"compare": True})
    with pytest.raises(EvooptError, match="trained on one task, not 2"):
        load_space(name).with_tasks(("digits", "mnist"))


def test_an_unknown_individual_type_names_the_known_ones() -> None:
    with pytest.raises(
        EvooptError, match=r"unknown individual type in x\.toml 'gadm'\. Did you mean 'gadam'"
    ):
        parse_config("individual = 'gadm'", "x.toml")
