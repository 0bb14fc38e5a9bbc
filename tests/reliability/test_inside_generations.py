"""A run that is stopped inside a generation goes on where it was: its work is counted, none is done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import evoopt
from evoopt.config import load_space
from evoopt.execution import Place
from evoopt.runs import Run
from evoopt.runs.finished_chunks import states_folder
from evoopt.training import interrupted
from evoopt.training.lockstep import Lockstep
from evoopt.training.scoring import Scorer
from tests.reliability.commands import SPACES, outcome, write_space


class Work:
    """Counts the steps of trainings and the scorings of networks, and stops before one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done, self.stop = 0, -1
        for owner, name in ((Lockstep, "step"), (Scorer, "__call__")):
            self._count(monkeypatch, owner, name)

    def _count(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        original = getattr(owner, name)

        def counted(this: Any, *arguments: Any) -> Any:
            if self.done == self.stop:
                raise KeyboardInterrupt
            self.done += 1
            return original(this, *arguments)

        monkeypatch.setattr(owner, name, counted)


def test_states_on_the_way_are_left_only_where_all_workers_see_them(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", load_space("gadam-digits")) as run:
        assert states_folder(run, Place("process")) == run.folder / "weights"
        assert states_folder(run, Place("dask")) is None


@pytest.mark.parametrize("name", SPACES)
def test_no_work_is_done_twice_wherever_a_run_is_stopped(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(monkeypatch)
    space = load_space(str(write_space(tmp_path, name))).override({"execution": {"executor": "serial"}})
    evoopt.search(space, out=tmp_path / "whole").close()
    total, expected = work.done, outcome(tmp_path / "whole")
    monkeypatch.setattr(interrupted, "SAVE_EVERY", 0.0)
    folder = tmp_path / "run"
    work.done, stops = 0, [total * k // 4 for k in (1, 2, 3)]
    for work.stop in stops:
        with pytest.raises(KeyboardInterrupt):
            evoopt.resume(folder) if folder.exists() else evoopt.search(space, out=folder)
    work.stop = -1
    evoopt.resume(folder).close()
    assert work.done <= total  # equal chunks of a generation are done once then
    assert outcome(folder) == expected
