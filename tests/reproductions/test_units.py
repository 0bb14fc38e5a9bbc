"""Units are done once, and what interrupts or fails costs no more than the unit it hits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evoopt.execution import Executor, make_executor
from reproductions.units import Unit, UnitFile, do_units

UNITS = [Unit("part", "double", seed, {"size": 3}) for seed in range(4)]
DONE: list[int] = []


def make_worker(failing: Sequence[int]) -> Any:
    def work(chunk: Any) -> dict[str, Any]:
        DONE.append(chunk.seed)
        if chunk.seed in failing:
            raise ValueError("no luck")
        return {"value": 2 * chunk.seed, "nan": float("nan")}

    return work


def do(path: Path, units: Sequence[Unit] = UNITS, failing: Sequence[int] = ()) -> tuple[UnitFile, list[str]]:
    DONE.clear()
    file = UnitFile(path)

    def executor() -> Executor:
        return make_executor("serial", make_worker, failing)

    return file, do_units(units, file, executor, "test")


def test_a_finished_unit_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "units.jsonl"
    do(path, UNITS[:2])
    file, _ = do(path)
    assert DONE == [2, 3]
    assert [file[unit]["value"] for unit in UNITS] == [0, 2, 4, 6]
    do(path)
    assert DONE == []
    assert UnitFile(path)[UNITS[2]]["nan"] is None


def test_another_setting_is_another_unit(tmp_path: Path) -> None:
    path = tmp_path / "units.jsonl"
    do(path)
    do(path, [Unit("part", "double", 0, {"size": 4}), Unit("part", "other", 0, {"size": 3})])
    assert DONE == [0, 0]


def test_a_failed_unit_is_told_and_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "units.jsonl"
    _, failed = do(path, failing=(1,))
    assert failed == ["part, double, seed 1 failed: ValueError: no luck"]
    _, failed = do(path)
    assert (DONE, failed) == ([1], [])
