"""Members that travel in a shared folder arrive as they left, and leave nothing there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

import evoopt
from evoopt.errors import EvooptError
from evoopt.jobs.transfer import answer, as_arrays, received, sending
from tests.execution.test_dask_runs import run

TINY = {
    "recombination": {"population": 4, "generations": 2},
    "training": {"steps": 5, "chunk_size": 2},
}


@pytest.mark.parametrize("executor", ["serial", "process"])
def test_a_run_ends_with_the_same_bytes(executor: str, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    plain = run("pbt-digits", tmp_path / "plain", "serial")
    assert run("pbt-digits", tmp_path / "files", executor, exchange=str(shared), workers=1) == plain
    assert "model.safetensors" in plain
    assert os.listdir(shared) == []


def test_members_arrive_as_they_left_and_so_do_answers(tmp_path: Path) -> None:
    weights = torch.randn(3, 7)
    with sending(tmp_path) as send:
        parcel = send({"weights": weights.numpy()})
        assert isinstance(parcel, Path)
        assert tmp_path in parcel.parents
        assert torch.equal(received(parcel)["weights"], weights)
        back = answer(as_arrays({"weights": 2 * weights}), parcel)
        assert isinstance(back, Path)
        assert torch.equal(received(back)["weights"], 2 * weights)
    assert not parcel.exists()
    assert not back.exists()


def test_without_a_folder_members_stay_in_the_message() -> None:
    members = {"weights": torch.zeros(1, 2).numpy()}
    with sending(None) as send:
        parcel = send(members)
        assert parcel is members
        assert answer(members, parcel) is members


def test_a_folder_that_only_the_leader_sees_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(EvooptError, match="every machine sees"):
        received(tmp_path / "elsewhere.safetensors")


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    overrides = {**TINY, "execution": {"executor": "serial", "exchange": str(tmp_path / "none")}}
    with pytest.raises(EvooptError, match=r"cannot write to the exchange folder .*none: No such file"):
        evoopt.search("pbt-digits", out=tmp_path / "run", overrides=overrides)


@pytest.mark.parametrize("trainer", [evoopt.Gadam, evoopt.GeneticTrainer])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_models_in_half_precision_are_refused_in_one_line(trainer: Any, dtype: torch.dtype) -> None:
    x, y = torch.randn(40, 4).to(dtype), torch.arange(40) % 3
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(EvooptError, match=f"models of {name} cannot be trained here: make them in float32"):
        trainer(lambda: torch.nn.Linear(4, 3).to(dtype)).fit((x, y))
