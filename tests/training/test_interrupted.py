"""A training that was interrupted goes on from the state it left, with the same bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from evoopt.optim import UpdateRule, preset
from evoopt.training.batched import EngineOptions, train_batched
from evoopt.training.interrupted import Interruptible, States, interruptible, remove_states
from evoopt.training.lockstep import Lockstep
from evoopt.training.members import Members
from evoopt.training.phase import train_phase
from evoopt.training.plan import PhasePlan, TrainingPlan, TrainingResult
from evoopt.training.population import ModelPopulation
from tests.rules import random_rules, random_staged_rule
from tests.training.examples import task_and_data

STEPS = 40
BLOWS_UP = UpdateRule((("grad", 1.0),), lr=1e9)


@pytest.fixture
def steps_made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that are made; the one whose number ``[0]`` says is not, and ends the process."""
    made = [-1]
    step = Lockstep.step

    def noted(self: Lockstep, number: int, batch: Any) -> None:
        if len(made) - 1 == made[0]:
            raise KeyboardInterrupt
        made.append(number)
        step(self, number, batch)

    monkeypatch.setattr(Lockstep, "step", noted)
    return made


def trainings(name: str, way: str) -> list[TrainingResult]:
    task, data = task_and_data(name)
    staged = [random_staged_rule(seed) for seed in range(3)]
    averaged = [replace(preset("adamw"), readout="ema")]
    rules = [*random_rules(2, 1), *averaged, *staged, BLOWS_UP]
    plan = TrainingPlan(STEPS, 5, 16, max_loss=1e4, halve_at=0.6)
    options = EngineOptions(way=way, check_every=7)  # type: ignore[arg-type]
    return train_batched(task, data, rules, plan, keep_losses=True, options=options)


def phases(name: str, way: str) -> list[Tensor]:
    task, data = task_and_data(name)
    rules = [*random_rules(2, 1), random_staged_rule(4)]
    members = Members.fresh(ModelPopulation.from_seeds(task, range(3)), rules)
    engine = "sequential" if way == "loop" else "batched"
    losses = [
        train_phase(task, data.train, members, PhasePlan(STEPS // 2, 16, seeds), engine)  # type: ignore[arg-type]
        for seeds in ((1,), (2, 3, 4))
    ]
    return [*losses, *members.tensors().values()]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0))
    return repr(replace(one, seconds=0.0)) == repr(replace(other, seconds=0.0))


@pytest.mark.parametrize("stop", [9, 30])
@pytest.mark.parametrize(
    ("work", "name", "way"), [(trainings, "odd_convolutions", "auto"), (phases, "residual", "loop")]
)
def test_no_step_is_made_twice_and_no_bit_differs(
    work: Any, name: str, way: str, stop: int, steps_made: list[int], tmp_path: Path
) -> None:
    expected = work(name, way)
    first = steps_made[1:]
    stem = tmp_path / "weights" / "a job"
    run = interruptible(lambda chunk: work(name, way))
    steps_made[:] = [stop]
    with pytest.raises(KeyboardInterrupt):
        run(Interruptible(None, stem, every=0))
    before = steps_made[1:]
    steps_made[:] = [-1]
    found = run(Interruptible(None, stem, every=0))
    assert before + steps_made[1:] == first
    assert all(same(a, b) for a, b in zip(found, expected, strict=True))
    remove_states(stem)
    assert not list(stem.parent.iterdir())


@pytest.mark.parametrize("harm", ["flipped", "cut"])
def test_a_state_that_was_harmed_is_not_used(harm: str, steps_made: list[int], tmp_path: Path) -> None:
    expected = phases("mlp", "auto")
    first, stem = steps_made[1:], tmp_path / "job"
    run = interruptible(lambda chunk: phases("mlp", "auto"))
    steps_made[:] = [9]
    with pytest.raises(KeyboardInterrupt):
        run(Interruptible(None, stem, every=0))
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    path.write_bytes(data[:-8] + bytes([data[-8] ^ 1]) + data[-7:] if harm == "flipped" else data[:-9])
    steps_made[:] = [-1]
    found = run(Interruptible(None, stem, every=0))
    assert steps_made[1:] == first
    assert all(same(a, b) for a, b in zip(found, expected, strict=True))


def test_a_state_of_other_members_is_not_used(steps_made: list[int], tmp_path: Path) -> None:
    """As it is found where the first attempt had to split the training before for want of memory."""
    task, data = task_and_data("mlp")

    def work(seed: int) -> list[TrainingResult]:
        return train_batched(task, data, random_rules(3, seed), TrainingPlan(STEPS, 5, 16), keep_losses=True)

    expected, run = work(2), interruptible(work)
    steps_made[:] = [9]
    with pytest.raises(KeyboardInterrupt):
        run(Interruptible(1, tmp_path / "job", every=0))
    steps_made[:] = [-1]
    found = run(Interruptible(2, tmp_path / "job", every=0))
    assert all(same(a, b) for a, b in zip(found, expected, strict=True))


def test_a_state_that_cannot_be_kept_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    found = interruptible(lambda chunk: phases("mlp", "auto"))(
        Interruptible(None, tmp_path / "file" / "job", every=0)
    )
    assert all(same(a, b) for a, b in zip(found, phases("mlp", "auto"), strict=True))

    def full_disk(*args: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("evoopt.training.weights_file.os.replace", full_disk)
    States(tmp_path / "job").save(tmp_path / "job.0.state", ({}, {}))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_buffer_of_a_single_member_is_kept(tmp_path: Path) -> None:
    states, path = States(tmp_path / "job"), tmp_path / "job.0.state"
    states.save(path, ({}, {"batches": torch.tensor(3).expand(1).clone()}))
    state = states.load(path)
    assert state is not None
    assert state[1]["batches"].tolist() == [3]


def test_at_its_end_a_training_is_kept_unless_the_job_is_young(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("evoopt.training.interrupted.time.monotonic", lambda: now[0])
    states = States(tmp_path / "job", 60.0, _begun=0.0, _saved=0.0)
    due = []
    for now[0] in (50.0, 60.0, 70.0):
        due.append((states.due(at_end=False), states.due(at_end=True)))
        if now[0] == 60.0:
            states.save(tmp_path / "job.0.state", ({}, {}))
    assert due == [(False, False), (True, True), (False, True)]


def test_short_jobs_leave_nothing(tmp_path: Path) -> None:
    interruptible(lambda chunk: phases("mlp", "auto"))(Interruptible(None, tmp_path / "job", every=60))
    assert not list(tmp_path.iterdir())
