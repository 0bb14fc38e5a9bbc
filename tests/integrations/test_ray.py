"""A schedule of population-based training as a policy that Ray Tune replays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evoopt.errors import EvooptError
from evoopt.systems.hyperparameters.schedules import Schedule

VALUES = ({"lr": 0.1, "q": 2}, {"lr": 0.1, "q": 2}, {"lr": 0.05, "q": 2}, {"lr": 0.02, "q": 3})
SCHEDULE = Schedule(VALUES, steps=20, batch_size=8)


def test_a_policy_has_a_line_for_the_start_and_one_for_each_change() -> None:
    rows = [json.loads(line) for line in SCHEDULE.ray_policy(10).splitlines()]
    assert [row[3] for row in rows] == [0, 4, 6]
    assert [row[5] for row in rows] == [VALUES[0], *VALUES[2:]]
    assert [row[4] for row in rows] == [VALUES[0], VALUES[1], VALUES[2]]
    with pytest.raises(EvooptError, match="no multiple of 7"):
        SCHEDULE.ray_policy(7)


def test_ray_reads_a_policy(tmp_path: Path) -> None:
    schedulers = pytest.importorskip("ray.tune.schedulers")
    (tmp_path / "policy.txt").write_text(SCHEDULE.ray_policy())
    replay = schedulers.PopulationBasedTrainingReplay(str(tmp_path / "policy.txt"))
    assert replay.config == VALUES[0]
    assert replay._policy == [(0, VALUES[0]), (2, VALUES[2]), (3, VALUES[3])]
