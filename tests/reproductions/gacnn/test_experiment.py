"""The reproduction of GACNN: equal starts, honest counts, verdicts that follow from the numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from evoopt.execution import Place
from reproductions.gacnn.experiment import GACNN
from reproductions.gacnn.methods import VARIANTS, Budget
from reproductions.gacnn.plots import PICTURES
from reproductions.gacnn.report import courses
from reproductions.gacnn.results import ROWS, TaskResult, lead
from reproductions.publication import Reproduction, reproduce

POPULATION, GENERATIONS, EXAMPLES, STEPS = 6, 3, 60, 8
TASK = "genetic_digits"


def small(out: Path, **changes: Any) -> Reproduction[TaskResult]:
    settings = {
        "parts": (TASK,), "population": POPULATION, "generations": GENERATIONS, "examples": EXAMPLES,
        "steps": STEPS, "seeds": 2, "place": Place("serial"), **changes,
    }  # fmt: skip
    return reproduce(GACNN, **settings, out=out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gacnn")


@pytest.fixture(scope="module")
def found(folder: Path) -> Reproduction[TaskResult]:
    return small(folder)


def test_it_gives_every_row_and_picture_and_both_files(found: Reproduction[TaskResult], folder: Path) -> None:
    (result,) = found.found.parts
    assert list(result.rows) == list(ROWS)
    assert {path.stem for path in found.plots} == set(PICTURES)
    assert all(path.stat().st_size > 0 for path in found.plots)
    assert (folder / "reproduction.md").read_text(encoding="utf-8") == found.text
    kept = json.loads((folder / "reproduction.json").read_text(encoding="utf-8"))
    told = kept["parts"][TASK]["rows"]["elitist"]["0"]["test_accuracy"]
    assert told == result.rows["elitist"][0]["test_accuracy"]
    assert "curve" not in kept["parts"][TASK]["rows"]["elitist"]["0"]
    for title in ROWS.values():
        assert f"| {title} |" in found.text


def test_all_methods_start_at_the_same_accuracy(found: Reproduction[TaskResult]) -> None:
    (result,) = found.found.parts
    for seed in (0, 1):
        # The robust settings' fittest is the one with the highest likelihood, not accuracy.
        others = [row for row in result.rows if not row.startswith("robust")]
        assert len({result.rows[row][seed]["curve"]["accuracy"][0] for row in others}) == 1


def test_iterations_and_examples_are_counted_as_the_report_says(found: Reproduction[TaskResult]) -> None:
    (result,) = found.found.parts
    children = POPULATION * (GENERATIONS - 1)
    counts = {row: (result.rows[row][0]["iterations"], result.rows[row][0]["examples"]) for row in ROWS}
    assert counts["steady_state"] == (children, children * EXAMPLES)
    assert counts["generational"] == (GENERATIONS - 1, children * EXAMPLES)
    elites = 1
    seen = (POPULATION - elites) * (GENERATIONS - 1) * EXAMPLES
    assert counts["elitist"] == (GENERATIONS - 1, seen)
    # 60 examples give one minibatch of 32 per epoch; incomplete ones are left out.
    assert counts["adam"] == counts["sgd"] == (STEPS, STEPS * 32)
    assert counts["elitist_adam"] == (GENERATIONS - 1 + STEPS, seen + STEPS * 32)


def test_a_head_start_goes_on_where_evolution_ended(found: Reproduction[TaskResult]) -> None:
    (result,) = found.found.parts
    for row in ("elitist", "robust"):
        own, whole = (result.rows[name][0]["curve"] for name in (row, f"{row}_adam"))
        for axis in own:
            assert whole[axis][: len(own[axis])] == own[axis]
        assert len(whole["seconds"]) > len(own["seconds"])


def test_schemes_that_keep_their_best_never_fall(found: Reproduction[TaskResult]) -> None:
    (result,) = found.found.parts
    keeping = [row for row, variant in VARIANTS.items() if variant.scheme != "generational"]
    assert all(result.rows[row][seed]["falls"] == 0 for row in keeping for seed in (0, 1))


def result_of(**rows: dict[int, list[float]]) -> TaskResult:
    """Rows of curves by seed, one point per iteration."""
    made = {
        row: {
            seed: {"accuracy": ys[-1], "curve": {"iterations": list(range(1, len(ys) + 1)), "accuracy": ys}}
            for seed, ys in by_seed.items()
        }
        for row, by_seed in rows.items()
    }
    return TaskResult("made", Budget(2, 2, None, 1, 2), made)


def test_an_early_lead_is_told_from_a_late_one() -> None:
    result = result_of(elitist={0: [0.1, 0.3, 0.35, 0.4]}, adam={0: [0.1, 0.2, 0.3, 0.5, 0.9, 0.9]})
    evolved = lead(result, "elitist", "adam", "iterations")
    assert evolved.early
    assert evolved.last is not None
    assert 3.9 < evolved.last < 4
    gradients = lead(result, "adam", "elitist", "iterations")
    assert not gradients.early
    assert gradients.last == math.inf


def test_who_leads_is_told_of_the_seeds_that_both_have() -> None:
    result = result_of(elitist={0: [0.1, 0.5], 1: [0.1, 0.1]}, adam={0: [0.1, 0.4]})
    assert lead(result, "elitist", "adam", "iterations").last == math.inf


def test_the_slowness_of_steady_state_is_told_of_steady_state() -> None:
    """It leads by examples here, and is behind in the end."""
    curves = {"steady_state": [0.1, 0.3, 0.3], "elitist": [0.1, 0.2, 0.4]}
    rows = {
        row: {
            seed: {
                "accuracy": ys[-1], "falls": 0, "iterations": 3,
                "curve": {"examples": [1, 2, 3], "iterations": [1, 2, 3], "accuracy": ys},
            }
            for seed in range(3)
        }
        for row, ys in curves.items()
    }  # fmt: skip
    [_, _, told] = courses(TaskResult("made", Budget(2, 2, None, 1, 3), rows))
    assert told.endswith("better in the end: holds; by examples steady state is last ahead at 3.")
