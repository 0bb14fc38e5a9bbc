"""A small reproduction: published numbers beside own ones, nothing done twice, missing data told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evoopt.compare import Place
from reproductions.gadam import budget
from reproductions.gadam.budget import PARTS, SMALL_FIGURES
from reproductions.gadam.experiment import GADAM
from reproductions.gadam.plots import draw
from reproductions.gadam.report import report
from reproductions.gadam.results import ROWS, tables
from reproductions.publication import Reproduction, reproduce
from reproductions.results import PartResult
from tests.tasks.synthetic import write_yeast

FIGURES = replace(
    SMALL_FIGURES, generations=2, population=2, populations=(2, 3), sweep_generations=1, workers=()
)


@pytest.fixture(scope="module", autouse=True)
def small_forests() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, part in PARTS.items():
            patch.setitem(PARTS, name, replace(part, small=replace(part.small, trees=5)))  # type: ignore[arg-type]
        patch.setattr(budget, "SMALL_FIGURES", FIGURES)
        yield


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_yeast(folder)
    return folder


def small(out: Path, data_dir: Path, **changes: Any) -> Reproduction[PartResult]:
    given: dict[str, Any] = {
        "parts": ("yeast", "figures"), "population": 2, "generations": 1, "steps": 3, "seeds": 2,
        "place": Place("serial", data_dir=data_dir), "out": out, **changes,
    }  # fmt: skip
    return reproduce(GADAM, **given)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> tuple[Path, Reproduction[PartResult]]:
    out = tmp_path_factory.mktemp("reproduction")
    return out, small(out, data_dir)


def test_the_report_sets_published_numbers_beside_own_ones(
    done: tuple[Path, Reproduction[PartResult]],
) -> None:
    out, found = done
    text = (out / "reproduction.md").read_text()
    assert text == found.text
    yeast = next(part for part in tables(found.found) if part.name == "yeast")
    assert list(yeast.rows) == list(ROWS)
    own = sum(yeast.column("gadam_paper", "test_accuracy").values()) / 2
    line = next(line for line in text.splitlines() if line.startswith("| GADAM as published | 12 |"))
    assert f"| {100 * own:.2f} ± " in line
    assert "| 63.70 |" in line
    for expected in (
        "| gcForest | - | not run | 63.45 |",
        "| yeast | 2 | 1 | 3 | 6 | 12 | 32 | 2 |",
        "Figure 5:",
    ):
        assert expected in text


def test_files_hold_the_numbers_and_the_pictures(done: tuple[Path, Reproduction[PartResult]]) -> None:
    out, found = done
    data = json.loads((out / "reproduction.json").read_text())
    assert data["parts"]["yeast"]["budget"]["steps"] == 3
    assert data["parts"]["yeast"]["published"]["adam"] == {"accuracy": 62.05, "loss": None}
    names = {path.name for path in found.plots}
    assert names == {
        f"{n}.png" for n in ("differences", "training_loss", "generations", "population", "adoption")
    }
    assert all((out / name).stat().st_size > 0 for name in names)
    assert all(f"({name})" in found.text for name in names)


@pytest.mark.parametrize("rows", [("gadam",), ("adam",), ("gadam", "adam")], ids="+".join)
def test_a_report_names_the_pictures_that_are_drawn_and_no_other(
    rows: tuple[str, ...], done: tuple[Path, Reproduction[PartResult]]
) -> None:
    found = done[1].found
    [whole] = tables(found)
    kept = replace(whole, rows={row: whole.rows[row] for row in rows})
    fewer = replace(found, parts=tuple(kept if part is whole else part for part in found.parts))
    named = re.findall(r"\]\((\w+)\.png\)", "\n".join(report(fewer)))
    assert sorted(named) == sorted(name for name, figure in draw(fewer).items() if figure is not None)
    assert ("differences" in named) == (rows == ("gadam", "adam"))


@pytest.mark.usefixtures("undrawn")
def test_a_second_call_trains_nothing(
    done: tuple[Path, Reproduction[PartResult]], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, first = done
    monkeypatch.setattr(Place, "start", lambda *_: pytest.fail("nothing is left to do"))
    assert small(out, data_dir).text == first.text
