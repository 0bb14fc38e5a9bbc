"""Whole runs on a Dask cluster: the bytes of one process, exact resumption after the scheduler is lost."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import evoopt
from evoopt.cli import app
from evoopt.errors import EvooptError
from evoopt.runs import Run
from tests.execution.clusters import separate_cluster

SPACES: dict[str, dict[str, dict[str, Any]]] = {
    "quick": {
        "search": {
            "population": 6,
            "generations": 2,
            "finalists": 2,
            "final_replicates": 2,
            "compare": False,
        },
        "evaluation": {
            "steps": 12,
            "replicates": 1,
            "chunk_size": 2,
            "engine": "sequential",
            "tasks": ["digits"],
            "baseline_trials": 6,
        },
    },
    "pbt-digits": {
        "recombination": {"population": 4, "generations": 2},
        "training": {"steps": 10, "chunk_size": 2, "engine": "sequential"},
    },
}


def run(space: str, folder: Path, executor: str, **execution: Any) -> dict[str, bytes]:
    """Files of a finished run that must not depend on where it ran."""
    overrides = {**SPACES[space], "execution": {"executor": executor, "workers": 2, **execution}}
    with evoopt.search(space, out=folder, overrides=overrides):
        return files(folder)


def files(folder: Path) -> dict[str, bytes]:
    names = [name for name in ("result.json", "model.safetensors") if (folder / name).exists()]
    assert "result.json" in names
    return {name: (folder / name).read_bytes() for name in names}


def test_a_run_on_dask_gives_the_bytes_of_one_process(tmp_path: Path) -> None:
    spread = run("quick", tmp_path / "dask", "dask", workers=1)
    assert spread == run("quick", tmp_path / "serial", "serial")


@pytest.mark.slow
def test_a_run_that_lost_its_scheduler_ends_with_the_same_bytes_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def stop(cluster: Any) -> None:
        while True:
            time.sleep(0.02)
            if (folder / "config.toml").exists():
                with Run(folder) as reader:
                    if sum(reader.store.outcome_counts().values()) >= 4:
                        break
        cluster.scheduler.kill()

    with separate_cluster(tmp_path) as cluster:
        threading.Thread(target=stop, args=(cluster,), daemon=True).start()
        with pytest.raises(EvooptError, match="evoopt resume"):
            run("quick", folder, "dask", scheduler=cluster.address)
    with evoopt.resume(folder, overrides={"executor": "serial"}):
        assert files(folder) == run("quick", tmp_path / "serial", "serial")


@pytest.mark.slow
def test_living_models_travel_to_a_cluster_in_files_as_well(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    with separate_cluster(tmp_path) as cluster:
        spread = run("pbt-digits", tmp_path / "dask", "dask", scheduler=cluster.address, exchange=str(shared))
    assert spread == run("pbt-digits", tmp_path / "serial", "serial")
    assert not any(shared.iterdir())


@pytest.mark.slow
def test_a_comparison_on_a_running_cluster_gives_the_figures_of_one_process(tmp_path: Path) -> None:
    def compared(name: str, *where: str) -> str:
        words = [
            "compare", "adam", "--baselines", "sgd", "--tasks", "digits", "--budget", "12", "--trials", "6",
            "--seeds", "2", "--quiet", "--out", str(tmp_path / name), *where,
        ]  # fmt: skip
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        return (tmp_path / name / "scores.csv").read_text()

    with separate_cluster(tmp_path) as cluster:
        spread = compared("dask", "--scheduler", cluster.address)
    assert spread == compared("serial", "--executor", "serial")
