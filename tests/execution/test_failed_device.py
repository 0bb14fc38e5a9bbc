"""A CUDA device that fails costs the chunk that broke it, and nothing that comes after."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from evoopt.errors import EvooptError
from evoopt.execution import make_executor
from evoopt.execution.device import raise_if_failed
from evoopt.execution.executor import ordered
from evoopt.training.batched import train_batched
from evoopt.training.plan import TrainingPlan
from tests.execution.torch_workers import break_device, make_breaking
from tests.rules import random_rules
from tests.training.examples import task_and_data


def test_a_worker_whose_device_fails_is_replaced_and_its_chunk_runs_again(tmp_path: Path) -> None:
    mark = tmp_path / "broken"
    with make_executor("process", make_breaking, None, workers=1) as executor:
        first, second = ordered(executor.run([("once", mark), ("once", mark)]), 2)
    assert (first.error, first.attempts, second.error, second.attempts) == (None, 2, None, 1)


def test_a_chunk_that_breaks_every_device_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "mark").touch()
    with make_executor("process", make_breaking, None, workers=1) as executor:
        bad, good = ordered(executor.run([("break",), ("fine", tmp_path / "mark")]), 2)
    assert (bad.error, bad.attempts) == ("the CUDA device failed in its process", 2)
    assert good.error is None


def test_in_ones_own_process_it_ends_the_run_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.execution.torch_workers.setattr", monkeypatch.setattr, raising=False)
    with (
        make_executor("serial", make_breaking, None) as executor,
        pytest.raises(EvooptError, match=r"device has failed .*misaligned address.*evoopt resume"),
    ):
        list(executor.run([("break",)]))


def test_no_smaller_group_is_tried_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    task, data = task_and_data("digits")
    begun = []

    def broken(*_: object) -> None:
        begun.append(True)
        break_device(monkeypatch.setattr)
        raise RuntimeError("CUDA error: misaligned address")

    monkeypatch.setattr("evoopt.training.batched._Training.begin", broken)
    with pytest.raises(EvooptError, match="device has failed"):
        train_batched(task, data, random_rules(4, seed=0), TrainingPlan(2, seed=0, batch_size=16))
    assert len(begun) == 1


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), ValueError("class 2")])
def test_other_failures_are_no_failure_of_the_device(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_if_failed(error)  # on a machine without a GPU, too
    break_device(monkeypatch.setattr)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    raise_if_failed(error)


def test_a_device_without_memory_left_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    break_device(monkeypatch.setattr)
    raise_if_failed(torch.OutOfMemoryError("no memory"))
    with pytest.raises(EvooptError, match="misaligned"):
        raise_if_failed(RuntimeError("anything"))
