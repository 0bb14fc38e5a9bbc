"""Work cut into units, each of which is done once: what is finished stays in a file of JSON lines."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tqdm import tqdm

from evoopt.compare.result import without_nan
from evoopt.execution import Executor
from evoopt.jobs.json_lines import JsonLines
from evoopt.jobs.queue import JobsFailedError, run_jobs


@dataclass(frozen=True)
class Unit:
    """One repetition of one method.

    Attributes:
        part: Part of the reproduction.
        method: What is done.
        seed: Of all its randomness.
        settings: Everything else that decides its result, as JSON.
    """

    part: str
    method: str
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Hash by which a finished unit is found again."""
        body = json.dumps([self.part, self.method, self.seed, self.settings], sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()[:16]

    def with_settings(self, more: Mapping[str, Any]) -> Unit:
        """One with these besides."""
        return replace(self, settings={**self.settings, **more})


@dataclass(frozen=True)
class Setup:
    """What every worker needs.

    Attributes:
        folder: Of the reproduction, for what units leave behind.
        data_dir: Where data sets lie.
        device: Where to train.
        threads: Torch threads.
        rounding: What decides how results are rounded, if it is not the usual; see `Place.rounding`.
    """

    folder: Path
    data_dir: Path | None = None
    device: str = "cpu"
    threads: int = 1
    rounding: Mapping[str, Any] = field(default_factory=dict)


def units_of(part: str, budget: Any, methods: Sequence[str], **more: Any) -> list[Unit]:
    """A unit for each seed and method; the rest of the budget, and more, decides its result."""
    settings = {**more, **{name: value for name, value in asdict(budget).items() if name != "seeds"}}
    return [Unit(part, method, seed, settings) for seed in range(budget.seeds) for method in methods]


class UnitFile:
    """Results of finished units, one JSON line each.

    Args:
        path: The file; it need not exist yet.
        rounding: Of the units that are looked for and kept, see `Setup`.
    """

    def __init__(self, path: Path, rounding: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._lines, self._rounding = JsonLines(path), rounding
        self._known: dict[str, dict[str, Any]] = {
            record["key"]: record["result"] for record in self._lines if {"key", "result"} <= record.keys()
        }

    def __contains__(self, unit: Unit) -> bool:
        return self._key(unit) in self._known

    def __getitem__(self, unit: Unit) -> dict[str, Any]:
        return self._known[self._key(unit)]

    def _key(self, unit: Unit) -> str:
        return unit.with_settings(self._rounding).key

    def keep(self, unit: Unit, result: Mapping[str, Any]) -> None:
        """Add the result of a unit; numbers that are not finite become null."""
        body = without_nan(dict(result))
        about = {"part": unit.part, "method": unit.method, "seed": unit.seed}
        self._lines.append({**about, "key": self._key(unit), "result": body})
        self._known[self._key(unit)] = body


def do_units(
    units: Sequence[Unit], file: UnitFile, executor: Callable[[], Executor], describe: str, quiet: bool = True
) -> list[str]:
    """Do what has not been done yet.

    Args:
        units: What is wanted.
        file: Where results are kept, each as soon as it is there.
        executor: Makes the executor, if there is anything to do.
        describe: Title of the progress bar.
        quiet: Show no progress bar.

    Returns:
        A line for each unit that failed; it is not kept, so that the next attempt tries it again.
    """
    todo = [unit for unit in units if unit not in file]
    failed: list[str] = []
    if not todo:
        return failed
    with (
        tqdm(
            total=len(units), initial=len(units) - len(todo), unit="unit", desc=describe,
            disable=True if quiet else None, file=sys.stderr, dynamic_ncols=True, smoothing=0.05,
        ) as bar,
        executor() as pool,
    ):  # fmt: skip
        try:
            run_jobs(pool, todo, file, progress=lambda done, left: bar.update(done))
        except JobsFailedError as error:
            bar.update(len(error.failures))
            for unit, answer in error.failures:
                failed.append(f"{unit.part}, {unit.method}, seed {unit.seed} failed: {answer.error}")
    return failed
